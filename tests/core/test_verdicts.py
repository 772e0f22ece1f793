"""A claim is as strong as its weakest check, says *exploratory* of few seeds, and gives no answer that fails."""

import math

import pandas as pd
import pytest

from lablib.core.claims import NOT_SHOWN, Check, Claim, above, below, includes_zero, verdicts, within
from lablib.core.stats import Interval, mean_interval

LOW, HIGH, ACROSS = Interval(-2.0, -3.0, -1.0, 5), Interval(2.0, 1.0, 3.0, 5), Interval(0.5, -1.0, 2.0, 5)
TABLE = pd.DataFrame({"seed": [0]})
FEW = mean_interval([-2.0, -2.1, -1.9])


@pytest.mark.parametrize(
    ("check", "holds"),
    [
        (below("x", LOW), True), (below("x", LOW, -1.5), False), (below("x", ACROSS), False), (below("x", FEW), False),
        (above("x", HIGH), True), (above("x", HIGH, 1.5), False), (above("x", ACROSS), False),
        (within("x", ACROSS, -2, 3), True), (within("x", ACROSS, -2, 1), False), (within("x", FEW, -9, 9), False),
        (includes_zero("x", ACROSS), True), (includes_zero("x", LOW), False), (includes_zero("x", FEW), False),
    ],
)  # fmt: skip
def test_a_check_looks_at_the_whole_interval_and_never_holds_without_one(check, holds):
    assert check.holds == holds


def test_a_check_says_what_it_measured():
    assert below("recall", LOW, spec=".1f") == Check(True, "recall -2.0 [-3.0, -1.0]", 5)


def claims(holds: bool = True, seeds: int = 5) -> Claim:
    checks = [Check(True, "first 1", 9), Check(True, "", 7), Check(holds, "second 2", seeds)]
    return Claim("Does it?", "yes", lambda table: checks, "a toy")


def test_a_verdict_joins_what_was_measured_and_counts_the_fewest_seeds():
    found = claims()(TABLE)
    assert (found.verdict, found.measured, found.seeds, found.caveat) == ("yes", "first 1; second 2", 5, "a toy")
    assert found.holds


def test_an_answer_is_not_given_where_one_check_fails():
    found = claims(holds=False)(TABLE)
    assert not found.holds
    assert found.verdict == NOT_SHOWN


def test_fewer_than_five_seeds_are_called_exploratory_and_repetitions_are_not_seeds():
    assert claims(seeds=3)(TABLE).caveat == "a toy; exploratory: 3 seeds"
    repeated = Claim("Does it?", "yes", claims(seeds=3).checks, repeated=True)
    assert repeated(TABLE).caveat == ""


def test_verdicts_are_a_table_in_markdown_with_a_row_a_claim():
    lines = verdicts([claims(), claims(holds=False)], TABLE).splitlines()
    assert lines[0] == "| question | verdict | measured | seeds | caveat |"
    assert lines[2:] == [
        "| Does it? | yes | first 1; second 2 | 5 | a toy |",
        f"| Does it? | {NOT_SHOWN} | first 1; second 2 | 5 | a toy |",
    ]


def test_a_number_that_is_missing_never_holds():
    assert not Claim("?", "yes", lambda t: [below("x", mean_interval([math.nan] * 5))])(TABLE).holds


def test_a_table_without_arms_bears_no_answer():
    found = claims()(TABLE.iloc[:0])
    assert (found.verdict, found.measured, found.seeds) == (NOT_SHOWN, "no arms in this table", 0)
