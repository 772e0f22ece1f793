"""Two tables of one arm, number by number: in what they differ, and whether a seed more could explain it."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lablib.app.record import is_of_the_machine

# A run with other last bits is one more draw of its seed. Its numbers are held against the range of the recorded
# seeds, widened by its own width on both sides, number by number. Of the recorded arms of conditions with five seeds,
# each held against the other four, 95 in 100 have at most this share of numbers outside.
OUTSIDE = 0.1


def differences(old: pd.DataFrame, new: pd.DataFrame, *, exact: bool) -> dict[str, str]:
    """Each column in which they differ, and how; times and memory are left out. A column not there is one of gaps.

    `exact` compares bit for bit; else floats count as equal that the record rounds to the same six digits.
    """
    if len(old) != len(new):
        return {"rows": f"{len(old)} before, {len(new)} now"}
    found = {}
    for name in dict.fromkeys([*old.columns, *new.columns]):
        if not is_of_the_machine(name):
            pairs = zip(_cells(old, name), _cells(new, name), strict=True)
            if unequal := [(a, b) for a, b in pairs if not _same(a, b, exact)]:
                found[name] = _largest(unequal)
    return found


def _cells(table: pd.DataFrame, name: str) -> list[Any]:
    """The cells of a column; a gap is None."""
    if name not in table:
        return [None] * len(table)
    return [None if missing else cell for cell, missing in zip(table[name].tolist(), table[name].isna(), strict=True)]


def _same(one: Any, two: Any, exact: bool) -> bool:
    if exact:
        return json.dumps(one) == json.dumps(two)
    if _is_number(one) and _is_number(two):
        return one == two or math.isclose(one, float(f"{two:.6g}"), rel_tol=1e-12)
    one, two = (None if cell == "" else cell for cell in (one, two))  # the record of old holds "" as a gap
    return one == two and isinstance(one, bool) == isinstance(two, bool)


def _largest(pairs: Sequence[tuple[Any, Any]]) -> str:
    """The largest difference of the pairs that are numbers; else the first pair as it stands."""
    sizes = [abs(one - two) for one, two in pairs if _is_number(one) and _is_number(two)]
    if sizes:
        return f"largest difference {max(sizes):.3g}"
    before, now = ("nothing" if cell is None else cell for cell in pairs[0])
    return f"{before} before, {now} now"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def share_outside(new: pd.DataFrame, seeds: Sequence[pd.DataFrame]) -> float:
    """The share of its numbers that lie outside the widened range of the recorded seeds; 1 for another number of rows.

    Only numbers count that at least two seeds have in the same place. Without any the share is 1.
    """
    outside = counted = 0
    for name in new.select_dtypes("number"):
        known = [table[name] for table in seeds if len(table) == len(new) and name in table]
        if is_of_the_machine(name) or len(known) < 2:
            continue
        values = np.array(known, dtype=float)
        there = (~np.isnan(values)).sum(0) >= 2
        number, values = new[name].to_numpy(float)[there], values[:, there]
        if there.any():
            low, high = np.nanmin(values, 0), np.nanmax(values, 0)
            with np.errstate(invalid="ignore"):  # where a range is infinite
                slack = high - low + 1e-5 * np.abs(high)  # the record rounds to six digits
                inside = (number == low) | (number == high) | (number >= low - slack) & (number <= high + slack)
            counted += there.sum()
            outside += (~inside).sum()
    return outside / counted if counted else 1.0
