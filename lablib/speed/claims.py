"""The claims of notebook 07: what the benchmark of a CPU and the compiler say."""

from collections.abc import Callable, Iterator
from numbers import Real

import pandas as pd

from lablib.core.claims import Check, Claim
from lablib.speed import summaries

WINDOW, CHUNKS, CHOICE, FORWARD = "sliding window", "chosen chunks", "selection", "forward"
BOTH = "forward and backward"
TOKENS = (1024, 2048, 4096, 8192, 16_384, 65_536)


CHOICES = ((CHOICE, "block by block"), (CHOICE, "the definition"), (CHUNKS, "by chunk"))


def _times(table: pd.DataFrame, operator: str, provider: str, mode: str = FORWARD) -> dict[int, float]:
    """Seconds of a provider over those of causal attention, by tokens, where it was timed."""
    rows = table[(table["operator"] == operator) & (table["mode"] == mode)]
    timed = [n for n in TOKENS if n in set(rows.loc[rows["provider"] == provider, "shape.time"])]
    return {n: summaries.over(rows, "causal SDPA", operator=operator, mode=mode, tokens=n)[provider] for n in timed}


def _said(times: dict[int, float]) -> str:
    return ", ".join(f"{value:.2g} at {tokens:,}" for tokens, value in times.items())


def _window(provider: str, bounds: dict[int, tuple[Real, Real]]) -> Callable[[pd.DataFrame], Iterator[Check]]:
    """Checks that a provider of the window takes so many times the seconds of causal attention, in both modes."""

    def checks(table: pd.DataFrame) -> Iterator[Check]:
        for mode in (FORWARD, BOTH):
            times = _times(table, WINDOW, provider, mode)
            holds = all(bounds[tokens][0] < times[tokens] < bounds[tokens][1] for tokens in bounds)
            yield Check(holds, f"{mode} {_said(times)}", table["seed"].nunique())

    return checks


def _floor(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.beside_the_floor(table).query("provider == 'banded'")
    most = rows["times the floor"].max()
    yield Check(len(rows) == 10 and most < 4, f"at most {most:.1f} times", table["seed"].nunique())


def _by_chunk(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.over_causal(table).query("operator == @CHUNKS and provider == 'by chunk'")
    for mode, most in ((FORWARD, {16_384: 0.4, 65_536: 0.12}), (BOTH, {16_384: 0.4})):
        times, crossing = _times(table, CHUNKS, "by chunk", mode), summaries.crossing(rows[rows["mode"] == mode])
        holds = times[1024] > 1 and all(times[tokens] <= bound for tokens, bound in most.items())
        yield Check(holds, f"{mode} from {crossing:,.0f} tokens on: {_said(times)}", table["seed"].nunique())


def _gathered(table: pd.DataFrame) -> Iterator[Check]:
    times, definition = (_times(table, CHUNKS, name) for name in ("gathered", "the definition"))
    shape = table.query("operator == @CHUNKS and mode == @FORWARD and `shape.time` == 16384").iloc[0]
    causal = 4 * shape["shape.heads"] * shape["shape.dim"] * 16_384 * 16_385 / 2
    yield Check(min(times.values()) > 2 and shape["flops"] < causal / 8, _said(times), table["seed"].nunique())
    more = times[1024] / definition[1024]
    yield Check(more > 5, f"over the definition {more:.0f} at 1,024", table["seed"].nunique())


def _selection(table: pd.DataFrame) -> Iterator[Check]:
    medians = table[table["mode"] == FORWARD].groupby(["operator", "provider", "shape.time"])["seconds"].median()
    ours, matrix, reading = (medians[part] for part in CHOICES)
    share, slower = (ours / reading).dropna(), (ours / matrix).dropna()
    yield Check(share.max() < 0.25, f"{share.min():.0%} to {share.max():.0%} of the reading", table["seed"].nunique())
    said = f"{slower.min():.2g} to {slower.max():.2g} times the plain matrix"
    yield Check(slower[16_384] < 1.1 and slower.max() < 2, said, table["seed"].nunique())


def _right(table: pd.DataFrame) -> Iterator[Check]:
    error = table.loc[table["same_work"], "error"].max()
    repeats = table.groupby(["operator", "provider", "mode", "shape.time"])["seed"].nunique()
    yield Check(error < 1e-5 and repeats.eq(3).all(), f"largest error {error:.0e}", int(repeats.min()))


def _compiled(table: pd.DataFrame) -> Iterator[Check]:
    facts, seeds = ["wgmma", "mma", "registers", "shared", "instructions"], table["seed"].nunique()
    same = table.groupby(["kernel", "dim"])[facts].nunique().eq(1).all(axis=None)
    yield Check(same and (table["wgmma"] + table["mma"] > 0).all(), f"{table['kernel'].nunique()} kernels", seeds)
    said = f"most registers {table['registers'].max():g} of 255, largest spill {table['stack'].max():g} bytes"
    yield Check(not table["stack"].any(), said, seeds)


BENCH = (
    Claim("Do the blocks of a window beat causal attention?", "from 2,048 tokens on",
          _window("banded", {1024: (0.8, 1.3), 2048: (0, 1), 4096: (0, 1), 16_384: (0, 0.5)}), "seconds over causal",
          repeated=True),
    Claim("Does a dense mask?", "no", _window("SDPA with a dense mask", {1024: (1, 99), 4096: (1, 99)}), repeated=True),
    Claim("Does the definition?", "no", _window("the definition", {1024: (1, 99), 4096: (1, 99)}), repeated=True),
    Claim("Do the blocks stay near the floor?", "within a few times", _floor, repeated=True),
    Claim("Do chosen chunks beat causal attention?", "read chunk by chunk, on long texts", _by_chunk,
          "the reading alone", repeated=True),
    Claim("And gathered token by token?", "no", _gathered, "the same arithmetic", repeated=True),
    Claim("Is the selection cheap?", "beside the reading; on long texts it takes about what the plain matrix takes",
          _selection, repeated=True),
    Claim("Was each provider right before it was timed?", "yes", _right, repeated=True),
)  # fmt: skip
COMPILED = (Claim("Do all kernels use tensor cores without spills?", "yes", _compiled, "not run there", repeated=True),)
