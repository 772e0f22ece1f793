"""The statistics of the lab: Student's t over seeds for means, Wilson's interval for shares of seeds.

The unit of replication is the seed. Questions inside one haystack or one text are not independent, so a caller
averages them first, and they never make an interval narrower.
Sources: Student, Biometrika 6 (1908); Wilson, JASA 22 (1927).
"""

import math
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
FEWEST_SEEDS = 5  # below this number a mean has no interval


class Interval(NamedTuple):
    """An estimate with a 95 % interval over seeds. Below five seeds the bounds are NaN: the estimate is exploratory."""

    estimate: float
    low: float
    high: float
    seeds: int

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        if not math.isnan(self.low):
            return f"{self.estimate:{spec}} [{self.low:{spec}}, {self.high:{spec}}]"
        note = ", exploratory" if self.seeds < FEWEST_SEEDS else ""
        return f"{self.estimate:{spec}} ({self.seeds} seed{'s' * (self.seeds != 1)}{note})"


def mean_interval(values: Collection) -> Interval:
    """Mean over seeds, a value a seed, with its 95 % Student-t interval; NaN bounds below five seeds.

    Raises ValueError for an empty input. A value that is NaN makes the mean NaN.
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        raise ValueError("a mean needs at least one value; got none")
    mean, half = float(x.mean()), math.nan
    if x.size >= FEWEST_SEEDS:
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, x.size - 1) * x.std(ddof=1) / math.sqrt(x.size))
    return Interval(mean, mean - half, mean + half, x.size)


def paired_difference(first: Collection, second: Collection) -> Interval:
    """Mean of second - first over paired seeds, with its t interval. Raises ValueError if the lengths differ."""
    if len(first) != len(second):
        raise ValueError(f"pairs need equal lengths; got {len(first)} and {len(second)}")
    return mean_interval(np.asarray(second, dtype=float) - np.asarray(first, dtype=float))


def wilson(successes: int, trials: int) -> Interval:
    """Share of successes with its Wilson score interval. Raises ValueError unless 0 <= successes <= trials > 0."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is no share")
    bounds = stats.binomtest(int(successes), int(trials)).proportion_ci(CONFIDENCE, method="wilson")
    return Interval(successes / trials, float(bounds.low), float(bounds.high), int(trials))


def rank_correlation(first: Collection, second: Collection) -> float:
    """Spearman's rank correlation; NaN where one of the two never varies."""
    x, y = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(x) < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return math.nan
    return float(stats.spearmanr(x, y).statistic)
