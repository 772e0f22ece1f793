"""Summaries of the readers of notebook 03: table -> numbers, with intervals over seeds."""

import numpy as np
import pandas as pd

from lablib.core import tables
from lablib.core.stats import Interval, mean_interval

NAIVE = "TTT-naive"
FP32 = 4  # bytes


def readings(table: pd.DataFrame) -> pd.DataFrame:
    """The rows by position, with a `series` for each way to read: the model's name, TTT-naive, TTT-E2E read without.

    Of naive reading only the inner rate with the lowest mean loss over all arms of a name is kept: its sweep.
    """
    rows = table[table["phase"] == "read"].copy()
    if rows.empty:
        return rows.assign(series=[])
    without, naive = rows["learns"].astype(bool) & (rows["mode"] == "off"), rows["mode"] == "naive"
    rows["series"] = rows["name"].mask(without, rows["name"] + ", read without").mask(naive, NAIVE)
    if not naive.any():
        return rows
    best = over_positions(rows[naive]).groupby("read_rate")["loss"].mean().idxmin()
    return rows[~naive | (rows["read_rate"] == best)]


def as_trained(table: pd.DataFrame) -> pd.DataFrame:
    """The readings with the inner loop where it was trained for, and without it elsewhere."""
    rows = readings(table)
    return rows[(rows["mode"] == "on") | ~rows["learns"].astype(bool) & (rows["mode"] == "off")]


def over_positions(rows: pd.DataFrame, start: int = 0, stop: int | None = None) -> pd.DataFrame:
    """One row an arm and way to read: mean loss, and best possible loss, over the positions from start to stop."""
    stop = int(rows["stop"].max()) if stop is None else stop
    rows = rows[(rows["start"] >= start) & (rows["stop"] <= stop)]
    width = rows["stop"] - rows["start"]
    weighed = rows.assign(width=width, loss=rows["loss"] * width, best=rows["best"] * width)
    keys = [key for key in ("arm", "name", "series", "mode", "read_rate", "seed") if key in rows]
    total = weighed.groupby(keys, dropna=False, sort=False)[["loss", "best", "width"]].sum(min_count=1).reset_index()
    return total.assign(loss=total["loss"] / total["width"], best=total["best"] / total["width"])


def at_best_rate(table: pd.DataFrame) -> pd.DataFrame:
    """Of each name the arms at the learning rate with the lowest mean loss (learners read with their inner loop)."""
    if table.empty:
        return table
    best = by_rate(table).groupby(["name", "rate"])["loss"].mean().sort_values().reset_index()
    return table[table["train.optim.lr"] == table["name"].map(best.groupby("name")["rate"].first())]


def by_rate(table: pd.DataFrame) -> pd.DataFrame:
    """One row an arm: its mean loss, read as it was trained, and its learning `rate`."""
    losses = over_positions(as_trained(table))
    return losses.assign(rate=losses["arm"].map(table.groupby("arm")["train.optim.lr"].first()))


def by_series(table: pd.DataFrame, start: int = 0) -> pd.DataFrame:
    """A row a way to read: mean loss from a position on with its interval over seeds, and what it cost."""
    facts = ["parameters", "fast_weights", "state_bytes", "train_tokens", "train_flops", "cpu_seconds"]
    losses = over_positions(readings(table), start).join(table.groupby("arm")[facts].first(), on="arm")
    naive, without = losses["series"] == NAIVE, losses["series"].str.endswith("read without")
    moving = losses["fast_weights"].max()  # naive reading moves the weights that TTT-E2E moves
    losses["state_bytes"] += FP32 * (moving * naive - losses["fast_weights"] * without)
    losses["fast_weights"] = losses["fast_weights"].mask(naive, moving).mask(without, 0)
    losses = losses.rename(columns={"series": "read as"})
    cost = losses.groupby("read as", sort=False)
    shown = cost[["best", *facts]].mean().assign(cpu_seconds=cost["cpu_seconds"].max())
    shown["state_bytes"], shown["train_flops"] = shown["state_bytes"] / 1024, shown["train_flops"] / 1e12
    whole = dict.fromkeys(("parameters", "fast_weights", "train_tokens"), int)
    shown = shown.astype(whole).set_axis([
        "best possible", "parameters", "fast", "state KiB", "training tokens", "training TFLOPs", "CPU-s an arm (most)",
    ], axis=1)  # fmt: skip
    return tables.means(losses, "loss", "read as").join(shown, on="read as")


def against(table: pd.DataFrame, first: str, second: str, start: int = 0, stop: int | None = None) -> Interval:
    """The way to read `second` less `first`, in nats over positions, paired by seed. ValueError for a missing one."""
    return tables.difference(over_positions(readings(table), start, stop), "loss", first, second, by="series")


def share_closed(table: pd.DataFrame, name: str, *, last: int = 8) -> Interval:
    """How far a way to read has come from no attention (0) to full attention (1), over the last positions."""
    rows = readings(table)
    losses = over_positions(rows, int(rows["stop"].max()) - last)
    wide = losses.pivot(index="seed", columns="series", values="loss")[["no attention", "full attention", name]]
    worst, best, mine = (column for _, column in wide.dropna().items())
    return mean_interval((worst - mine) / (worst - best))


def answered(table: pd.DataFrame) -> pd.DataFrame:
    """Share of right answers by training, model and distance, the loss of all other tokens, and what training took."""
    rows = table[table["phase"] == "recall"]
    keys = ["questions", "name"]
    reach = rows["nearest"].astype(int).astype(str) + " to " + rows["farthest"].astype(int).astype(str)
    shares = rows.assign(reach=reach).pivot_table(index=keys, columns="reach", values="exact", sort=False)
    cost = rows.groupby(keys, sort=False)[["other_loss", "train_tokens", "train_flops"]].mean()
    named = {"other_loss": "other tokens (nats)", "train_tokens": "training tokens", "train_flops": "training TFLOPs"}
    found = shares.join(cost.assign(train_flops=cost["train_flops"] / 1e12)).rename(columns=named)
    return found.astype({"training tokens": int}).reset_index()


def square_root_law(table: pd.DataFrame) -> pd.DataFrame:
    """By number of chunks: the group with the least peak memory, beside the square root that is expected."""
    means = table.groupby(["chunks", "group"])["peak_megabytes"].mean().unstack()
    groups = means.drop(columns=0, errors="ignore")
    return pd.DataFrame({
        "least memory with groups of": groups.idxmin(axis=1), "square root": np.sqrt(groups.index),
        "MiB": groups.min(axis=1), "MiB without checkpoints": means.get(0, np.nan),
    }).reset_index()  # fmt: skip


def step_costs(table: pd.DataFrame) -> pd.DataFrame:
    """Of `ttt/steps`: what an outer step costs over the step of the same model without its inner loop, by chunk."""
    means = table.groupby(["order", "chunk"], sort=False)[["step_seconds", "step_flops"]].mean()
    plain = means.loc["none"].iloc[0]
    ratios = (means / plain).rename(columns={"step_seconds": "times the CPU seconds", "step_flops": "times the FLOPs"})
    return ratios.drop(index="none", level="order").reset_index()


def token_costs(table: pd.DataFrame, name: str, measure: str = "prefill_seconds") -> pd.Series:
    """Of `ttt/cost`: mean seconds of a token by how many stand before it, for one reader. ValueError for none such."""
    if name not in set(table["name"]):
        raise ValueError(f"the table has no {name}; it has {', '.join(table['name'].unique())}")
    return table[table["name"] == name].groupby("length")[measure].mean()


def how_much(table: pd.DataFrame, name: str = "TTT-E2E, b=1") -> str:
    """The share that `share_closed` says, as an option of the prediction."""
    closed = share_closed(table, name).estimate
    return "none" if closed < 0.1 else "a quarter" if closed < 0.375 else "half" if closed < 0.7 else "most"


def crossing(table: pd.DataFrame, first: str = "full attention", second: str = "TTT-E2E") -> str:
    """From how many tokens on a token costs more with `first` than with `second`, when read and when written."""
    said = []
    for word, measure in (("read", "prefill_seconds"), ("written", "decode_seconds")):
        one, other = token_costs(table, first, measure), token_costs(table, second, measure)
        dearer = one.index[(one > other.reindex(one.index)).to_numpy()]
        where = f"from {dearer.min():,} tokens on" if len(dearer) else "at no length tried"
        said.append(f"A token that is {word} costs more with {first} than with {second} {where}.")
    return " ".join(said)
