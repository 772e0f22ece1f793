"""The claims of notebook 07: what the benchmarks of a CPU and of a GPU, and the compiler, say."""

from collections.abc import Callable, Iterator
from numbers import Real

import pandas as pd

from lablib.core.claims import Check, Claim
from lablib.speed import summaries

WINDOW, CHUNKS, FORWARD = "sliding window", "chosen chunks", "forward"
BOTH = "forward and backward"


def _times(table: pd.DataFrame, operator: str, provider: str, mode: str = FORWARD) -> pd.Series:
    """Seconds of a provider over those of causal attention, by tokens, where it was timed: the figure's means."""
    return summaries.times_causal(summaries.with_selection(table), operator, mode)[provider].dropna()


def _said(times: pd.Series) -> str:
    return ", ".join(f"{value:.2g} at {tokens:,}" for tokens, value in times.items())


def _window(provider: str, bounds: dict[int, tuple[Real, Real]]) -> Callable[[pd.DataFrame], Iterator[Check]]:
    """Checks that a provider of the window takes so many times the seconds of causal attention, in both modes."""

    def checks(table: pd.DataFrame) -> Iterator[Check]:
        for mode in (FORWARD, BOTH):
            times = _times(table, WINDOW, provider, mode)[list(bounds)]
            holds = all(low < times[tokens] < high for tokens, (low, high) in bounds.items())
            yield Check(holds, f"{mode}: {_said(times)}", table["seed"].nunique())

    return checks


def _floor(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.beside_the_floor(table).query("provider == 'banded'")
    most = rows["times the floor"].max()
    yield Check(len(rows) == 10 and most < 4, f"at most {most:.1f} times", table["seed"].nunique())


def _by_chunk(table: pd.DataFrame) -> Iterator[Check]:
    """The reading in both modes, and the reading with the selection, cross between the same two lengths."""
    cases = (("by chunk", FORWARD, 0.4), ("by chunk", BOTH, 0.4), ("by chunk + selection", FORWARD, 0.4))
    for provider, mode, most in cases:
        times = _times(table, CHUNKS, provider, mode)
        holds = summaries.crossing(times) == (2048, 4096) and times[16_384] <= most and times.get(65_536, 0) <= 0.12
        yield Check(
            holds, f"{provider}, {mode}: {_said(times[[2048, 4096, times.index[-1]]])}", table["seed"].nunique()
        )


def _gathered(table: pd.DataFrame) -> Iterator[Check]:
    times, definition = (_times(table, CHUNKS, name) for name in ("gathered", "the definition"))
    shape = table.query("operator == @CHUNKS and mode == @FORWARD and `shape.time` == 16384").iloc[0]
    causal = 4 * shape["shape.heads"] * shape["shape.dim"] * 16_384 * 16_385 / 2
    share, said = shape["flops"] / causal, _said(times[[1024, 16_384]])
    yield Check(times.min() > 2 and share < 1 / 8, f"{said}, with {share:.0%} of its FLOPs", table["seed"].nunique())
    yield Check(times[1024] > 5 * definition[1024], "", table["seed"].nunique())


def _selection(table: pd.DataFrame) -> Iterator[Check]:
    found = summaries.selection_beside_reading(table)
    share = found["selection over reading"].dropna()
    slower = (found["selection (ms)"] / found["plain matrix (ms)"]).dropna()
    said = ", ".join(
        f"{share[tokens]:.0%} of the reading at {tokens:,}" for tokens in (share.index[0], share.index[-1])
    )
    yield Check(share.max() < 0.25 and share.idxmax() == share.index[-1], said, table["seed"].nunique())
    said = f"{slower.min():.2g} to {slower.max():.2g} times the plain matrix"
    yield Check(slower[16_384] < 1.1 and slower.max() < 2, said, table["seed"].nunique())


def _beats_causal(table: pd.DataFrame) -> Iterator[Check]:
    for mode in (FORWARD, BOTH):
        times = _times(summaries.own_keys(table), WINDOW, "ours", mode)
        yield Check(times.max() < 1, f"{mode}: {_said(times)}", table["seed"].nunique())


def _near_flex(table: pd.DataFrame) -> Iterator[Check]:
    """Of six shapes: four lengths, wider heads, one key head for all."""
    keys = ["mode", *summaries.SHAPE]
    seconds = table[table["operator"] == WINDOW].groupby([*keys, "provider"])["seconds"].median().unstack()
    ratios = seconds["ours"] / seconds["flex_attention"]
    for mode, most in ((FORWARD, 1.2), (BOTH, 1.4)):
        of = ratios[mode]
        said = f"{mode}: {of.min():.2f} to {of.max():.2f} times its time"
        yield Check(len(of) == 6 and of.min() > 1 and of.max() < most, said, table["seed"].nunique())


def _own_keys(table: pd.DataFrame) -> Iterator[Check]:
    """With the choosing never faster; the reading alone is, between the two longest."""
    alone, chosen = (
        _times(summaries.own_keys(table), CHUNKS, f"ours, chunk-major{more}") for more in ("", " + selection")
    )
    said = f"reading alone {_said(alone[[16_384, 65_536]])}; with the choosing {_said(chosen[[16_384, 65_536]])}"
    yield Check(summaries.crossing(alone) == (16_384, 65_536) and chosen.min() > 1, said, table["seed"].nunique())


def _shared_keys(table: pd.DataFrame) -> Iterator[Check]:
    found = summaries.by_group(table, 16_384)
    times, orders = found[summaries.WITH_CHOICE], found["query-major (ms)"] / found["chunk-major (ms)"]
    said = f"with the choosing {times[16]:.2f} times causal SDPA, against {times[1]:.1f} for keys of their own"
    yield Check(times[16] < 0.7 and times[1] > 2, said, table["seed"].nunique())
    said = (
        f"for one head chunk-major is {orders[1]:.1f} times as fast, for sixteen query-major {1 / orders[16]:.1f} times"
    )
    yield Check(orders[1] > 4 and orders[16] < 1 / 3, said, table["seed"].nunique())


def _right_on_a_gpu(table: pd.DataFrame) -> Iterator[Check]:
    error = table[table["same_work"]].groupby(table["provider"].str.startswith("ours"))["error"].max()
    said = f"largest error {error[True]:.1e}, of torch's ways {error[False]:.1e}"
    yield Check(error[True] <= error[False] < 1e-2, said, table["seed"].nunique())


def _right(table: pd.DataFrame) -> Iterator[Check]:
    error = table.loc[table["same_work"], "error"].max()
    repeats = table.groupby(["operator", "provider", "mode", "shape.time"])["seed"].nunique()
    yield Check(error < 1e-5 and repeats.eq(3).all(), f"largest error {error:.0e}", int(repeats.min()))


def _compiled(table: pd.DataFrame) -> Iterator[Check]:
    facts, times = ["wgmma", "mma", "registers", "shared", "instructions"], table["seed"].nunique()
    widths = " and ".join(map(str, sorted(table["dim"].unique())))
    same = table.groupby(["kernel", "dim"])[facts].nunique().eq(1).all(axis=None)
    said = f"{table['kernel'].nunique()} kernels, each for heads of {widths}, compiled {times} times with one result"
    yield Check(same and (table["wgmma"] + table["mma"] > 0).all(), said, times)
    said = f"at most {table['registers'].max():g} of 255 registers, stack {table['stack'].max():g} bytes"
    yield Check(not table["stack"].any(), said, times)


BENCH = (
    Claim("Do the blocks of a window beat causal attention?", "forward from between 1,024 and 2,048 tokens on",
          _window("banded", {1024: (0.8, 1.3), 2048: (0, 1), 4096: (0, 1), 16_384: (0, 0.5)}),
          "times its seconds; a window of 512", repeated=True),
    Claim("Does a dense mask beat it?", "no",
          _window("SDPA with a dense mask", {1024: (1, 99), 4096: (1, 99)}), repeated=True),
    Claim("Do chosen chunks, chunk by chunk, beat it?", "from a length between 2,048 and 4,096 tokens on", _by_chunk,
          "the selection was not timed at 65,536", repeated=True),
    Claim("And chosen chunks, gathered token by token?", "no", _gathered, "forward", repeated=True),
    Claim("Is the selection cheap?", "yes, beside the reading, with a share that grows", _selection,
          "forward", repeated=True),
)  # fmt: skip
BESIDE = (  # what the text says in passing
    Claim("Does the definition of a window beat causal attention?", "no",
          _window("the definition", {1024: (1, 99), 4096: (1, 99)}), repeated=True),
    Claim("Do the blocks stay near the floor?", "within a few times", _floor, repeated=True),
    Claim("Was each provider right before it was timed?", "yes", _right, repeated=True),
)  # fmt: skip
COMPILED = (
    Claim("Do all kernels use tensor cores without spills?", "yes, in bf16", _compiled, "compiled for an H100",
          repeated=True),
)  # fmt: skip
_ONE = "one process, medians of 20 calls"
GPU = (
    Claim("Does the kernel of a window beat causal attention on the GPU?", "yes, at all lengths from 2,048 tokens on",
          _beats_causal, _ONE, repeated=True),
    Claim("Is it as fast as compiled flex_attention?", "not quite", _near_flex, _ONE, repeated=True),
    Claim("Do chosen chunks beat it, if each head has keys of its own?", "not up to 65,536 tokens, if choosing counts",
          _own_keys, _ONE, repeated=True),
    Claim("Do they with one key head for sixteen query heads?", "yes, at 16,384 tokens, query-major", _shared_keys,
          "no other length was timed so", repeated=True),
    Claim("Was each right before it was timed?", "yes, as near as torch in bf16", _right_on_a_gpu, repeated=True),
)  # fmt: skip
