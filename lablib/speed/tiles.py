"""Which tiles a kernel for a sliding window loads, and what of them is of use. Closed forms, no kernel runs."""

from typing import Literal, NamedTuple

import numpy as np

Walker = Literal["queries", "keys"]
SKIPPED, EDGE, FULL = 0, 1, 2


class Tiling(NamedTuple):
    """A text of `time` tokens cut into tiles of M queries and N keys."""

    time: int
    window: int
    queries: int
    keys: int


def tile_kinds(cut: Tiling) -> np.ndarray:
    """(tiles of queries, tiles of keys): SKIPPED where no pair is visible, FULL where all are, else EDGE."""
    visible = pairs(cut)
    rows, columns = np.arange(0, cut.time, cut.queries), np.arange(0, cut.time, cut.keys)
    some, every = (
        of.reduceat(of.reduceat(visible, rows, axis=0), columns, axis=1) for of in (np.logical_or, np.logical_and)
    )
    return np.where(every, FULL, np.where(some, EDGE, SKIPPED))


def pairs(cut: Tiling) -> np.ndarray:
    """(time, time): query i reads key j where i - window < j <= i."""
    i, j = np.arange(cut.time)[:, None], np.arange(cut.time)
    return (j <= i) & (j > i - cut.window)


def useful_share(cut: Tiling) -> float:
    """Of the pairs in the loaded tiles, those that are visible."""
    loaded = (tile_kinds(cut) != SKIPPED).sum() * cut.queries * cut.keys
    return float(pairs(cut).sum() / loaded)


def walk(cut: Tiling, walker: Walker, program: int) -> list[int]:
    """The tiles that a program visits: keys of a query tile, or queries of a key tile."""
    kinds = tile_kinds(cut)
    line = kinds[program] if walker == "queries" else kinds[:, program]
    return [int(place) for place in np.flatnonzero(line != SKIPPED)]
