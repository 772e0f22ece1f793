"""Intervals for a handful of seeds: bootstrap for means and paired differences, Wilson for shares."""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from scipy import stats


class Interval(NamedTuple):
    """An estimate with a 95 % interval."""

    estimate: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        return f"{self.estimate:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"


def mean_interval(values: Collection) -> Interval:
    """Mean over seeds with its 95 % Student-t interval; NaN bounds below five seeds. ValueError for an empty input."""
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        raise ValueError("a mean needs at least one value; got none")
    half = stats.t.ppf(0.975, x.size - 1) * x.std(ddof=1) / np.sqrt(x.size) if x.size >= 5 else np.nan
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half))


def bootstrap_mean(values: Collection, draws: int = 4000) -> Interval:
    """Mean over seeds with its percentile bootstrap interval; the draws are fixed, so equal input gives equal output.

    Raises ValueError for an empty input.
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        raise ValueError("a mean needs at least one value; got none")
    resampled = x[np.random.default_rng(0).integers(x.size, size=(draws, x.size))].mean(axis=1)
    return Interval(float(x.mean()), *(float(v) for v in np.quantile(resampled, [0.025, 0.975])))


def paired_difference(first: Collection, second: Collection) -> Interval:
    """Mean of second - first over paired seeds, with its bootstrap interval. ValueError if the lengths differ."""
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths; got {len(first)} and {len(second)}")
    return bootstrap_mean(np.asarray(second, dtype=float) - np.asarray(first, dtype=float))


def wilson(successes: int, trials: int) -> Interval:
    """Share of successes with its Wilson score interval. Raises ValueError unless 0 <= successes <= trials > 0."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no share")
    z, share = 1.959964, successes / trials
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Interval(share, float(max(0.0, middle - half)), float(min(1.0, middle + half)))
