"""Claims: what a notebook says of its tables. A claim is one function, table -> verdict; notebook and test share it."""

import dataclasses
from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any, NamedTuple

import pandas as pd

from lablib.core.stats import FEWEST_SEEDS, Interval

NOT_SHOWN = "not shown by this table"


class Check(NamedTuple):
    """One part of a claim: whether it holds, what was measured (may be empty), over how many seeds."""

    holds: Any
    measured: str
    seeds: int


def below(name: str, interval: Interval, level: Real = 0, spec: str = ".2f") -> Check:
    """The whole interval lies below a level. Never so without an interval."""
    return Check(interval.high < level, f"{name} {interval:{spec}}", interval.seeds)


def above(name: str, interval: Interval, level: Real = 0, spec: str = ".2f") -> Check:
    """The whole interval lies above a level. Never so without an interval."""
    return Check(interval.low > level, f"{name} {interval:{spec}}", interval.seeds)


def includes_zero(name: str, interval: Interval, spec: str = ".2f") -> Check:
    """The interval includes 0: a difference is not shown. Never so without an interval."""
    return Check(interval.low <= 0 <= interval.high, f"{name} {interval:{spec}}", interval.seeds)


def within(name: str, interval: Interval, low: Real, high: Real, spec: str = ".2f") -> Check:
    """The whole interval lies between two levels. Never so without an interval."""
    return Check(low < interval.low and interval.high < high, f"{name} {interval:{spec}}", interval.seeds)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The answer to a question, what was measured over how many seeds, what limits it; whether the tables bear it."""

    question: str
    verdict: str
    measured: str
    seeds: int
    caveat: str
    holds: bool


@dataclasses.dataclass(frozen=True)
class Claim:
    """A question, the answer of the notebook, and the checks that a table has to pass for it.

    Called with a table it gives the `Verdict`. Fewer than five seeds make the caveat say *exploratory*; in claims on
    costs `repeated` is true: there a row is a repetition of one measurement and not a seed.
    """

    question: str
    answer: str
    checks: Callable[[pd.DataFrame], Iterable[Check]]
    caveat: str = ""
    repeated: bool = False

    def __call__(self, table: pd.DataFrame) -> Verdict:
        if table.empty:
            return Verdict(self.question, NOT_SHOWN, "no arms in this table", 0, self.caveat, False)
        checks = list(self.checks(table))
        holds, seeds = all(bool(check.holds) for check in checks), int(min(check.seeds for check in checks))
        few = f"exploratory: {seeds} seeds" if seeds < FEWEST_SEEDS and not self.repeated else ""
        caveat = "; ".join(part for part in (self.caveat, few) if part)
        measured = "; ".join(check.measured for check in checks if check.measured)
        return Verdict(self.question, self.answer if holds else NOT_SHOWN, measured, seeds, caveat, holds)


def verdicts(claims: Iterable[Claim], table: pd.DataFrame) -> str:
    """The claims on a table as a table in Markdown: question, verdict, measured, seeds, caveat."""
    return verdict_table(claim(table) for claim in claims)


def verdict_table(found: Iterable[Verdict]) -> str:
    """Verdicts as a table in Markdown, a row each."""
    rows = [("question", "verdict", "measured", "seeds", "caveat"), ("---",) * 5]
    rows += [(v.question, v.verdict, v.measured, str(v.seeds), v.caveat) for v in found]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
