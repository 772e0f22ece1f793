"""`lab bench`: time every provider of an operator on this machine, and print it beside the floor."""

from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.table import Table

from lablib.app.errors import BadInput
from lablib.core.experiment import ArmsFailed, run_all
from lablib.core.progress import progress_line
from lablib.core.store import joined

LOSS = "distillation loss"
COLUMNS = ("provider", "ms", "20 % to 80 %", "times the floor", "error")


def bench(operators: Sequence[str], *, device: str | None, live: bool) -> int:
    """Run the arms (of lab scale on a CPU, of full scale on a GPU, one seed), print the table; 0, or 1 if one failed.

    Raises BadInput for an operator or a device that is not there.
    """
    code = 0
    for arms, experiment, show in chosen(operators, device):
        try:
            table = run_all(experiment, arms, in_process=True, fresh=True, progress=progress_line("bench", live=live))
        except ArmsFailed as failed:
            print(f"\n{failed}", flush=True)
            code, kept = 1, [arm for cfg in arms if (arm := experiment.stored(cfg)) is not None]
            table = joined(kept, "own")
        if not table.empty:
            show(table)
    return code


def chosen(operators: Sequence[str], device: str | None) -> list[tuple]:
    """Arms, their experiment, and what prints their table."""
    import torch

    from lablib.efficiency.experiments.loss import loss, loss_arms
    from lablib.speed.experiments.bench import bench as on_cpu
    from lablib.speed.experiments.bench import bench_arms, gpu, gpu_arms
    from lablib.speed.providers import PROVIDERS

    known = [*PROVIDERS, LOSS]
    if unknown := sorted(set(operators) - set(known)):
        raise BadInput(f"there is no operator {unknown[0]!r}; expected one of: {', '.join(known)}")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise BadInput("there is no GPU here; `lab bench --device cpu` times the CPU")
    torch.set_num_threads(1)
    arms = gpu_arms("full") if device == "cuda" else bench_arms("lab")
    wanted = operators or known
    arms = [cfg for cfg in arms if cfg.operator in wanted and cfg.seed == 0]
    runs = [(arms, gpu if device == "cuda" else on_cpu, show)] if arms else []
    if LOSS in wanted and device == "cpu":
        runs.append(([cfg for cfg in loss_arms("lab") if cfg.seed == 0], loss, show_loss))
    return runs


def show(table: pd.DataFrame) -> None:
    """A table a shape and mode, a line a provider; what does other work says so in place of an error."""
    keys = ["operator", "shape.time", "shape.dim", "shape.heads", "shape.kv_heads", "mode"]
    for (operator, tokens, dim, heads, kv_heads, mode), rows in table.groupby(keys, sort=False):
        shape = f"{tokens:,} tokens, {heads} heads of {dim} over {kv_heads}"
        printed = Table(*COLUMNS, title=f"{operator}, {mode}: {shape}", title_justify="left")
        for row in rows.to_dict("records"):
            printed.add_row(
                row["provider"],
                f"{1e3 * row['seconds']:.2f}",
                f"{1e3 * row['low_seconds']:.2f} to {1e3 * row['high_seconds']:.2f}",
                f"{row['seconds'] / row['floor_seconds']:.1f}",
                f"{row['error']:.0e}" if row["same_work"] else "other work",
            )
        Console().print(printed)
    kind = f"{table['device'].iloc[0]}, {table['dtype'].iloc[0]}"
    print(f"{kind}. The floor: the work at the machine's own rates, {rates(table)}.")


def show_loss(table: pd.DataFrame) -> None:
    """A line a provider of the distillation loss: time, and what is kept for the backward pass."""
    for (tokens, vocab), rows in table.groupby(["tokens", "vocab"], sort=False):
        title = f"{LOSS}, forward and backward: {tokens:,} tokens, a vocabulary of {vocab:,}"
        printed = Table("provider", "ms", "MiB kept", "error", title=title, title_justify="left")
        for row in rows.to_dict("records"):
            kept = f"{row['kept_bytes'] / 2**20:.1f}"
            printed.add_row(row["provider"], f"{1e3 * row['seconds']:.2f}", kept, f"{row['error']:.0e}")
        Console().print(printed)


def rates(table: pd.DataFrame) -> str:
    """The ceilings, in words."""
    flops, moved = (table[name].median() / 1e9 for name in ("flops_per_second", "bytes_per_second"))
    return f"{flops:,.0f} GFLOP/s and {moved:,.0f} GB/s"
