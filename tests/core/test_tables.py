"""Summaries give known answers on tables made by hand, and refuse rows that would count a seed twice."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from lablib.core import tables

DRAWN = np.random.default_rng(3).normal(size=(2, 5))
TWO = pd.DataFrame(
    [
        {"arm": name, "seed": seed, "place": place, "recall": value + place}
        for place in (0, 1)
        for name, row in zip("ab", DRAWN, strict=True)
        for seed, value in enumerate(row)
    ]
)
ONE = TWO[TWO["place"] == 0]


def test_a_row_has_the_first_name_whose_conditions_all_hold():
    table = pd.DataFrame({"plan": ["swa", "swa", "full", "hsa"], "window": [8, 64, 64, 8]})
    named = {"wide swa": {"plan": "swa", "window": 64}, "swa": {"plan": "swa"}, "wide": {"window": 64}}
    found = tables.with_names(table, named, column="variant", otherwise="plain")
    assert found["variant"].tolist() == ["swa", "wide swa", "wide", "plain"]
    assert "variant" not in table


def test_means_are_those_of_numpy_with_scipys_interval():
    found = tables.means(TWO, "recall", ["place", "arm"]).set_index(["place", "arm"])
    oracle = scipy_stats.ttest_1samp(DRAWN[1] + 1, 0).confidence_interval()
    assert found.loc[(1, "b")].tolist() == pytest.approx([5, DRAWN[1].mean() + 1, oracle.low, oracle.high])
    assert list(found.columns) == ["seeds", "recall", "low", "high"]


def test_means_leave_out_what_was_not_measured_and_have_no_interval_below_five_seeds():
    found = tables.means(ONE.assign(recall=ONE["recall"].where(ONE["seed"] > 1)), "recall", "arm")
    assert found["seeds"].tolist() == [3, 3]
    assert found["low"].isna().all()


def test_questions_of_one_seed_do_not_make_an_interval_narrower():
    with pytest.raises(ValueError, match="recall by arm: expected one row a seed and group"):
        tables.means(TWO, "recall", "arm")


def test_groups_stand_in_the_order_of_the_table_or_sorted():
    backwards = ONE.iloc[::-1]
    assert tables.means(backwards, "recall", "arm")["arm"].tolist() == ["b", "a"]
    assert tables.means(backwards, "recall", "arm", sort=True)["arm"].tolist() == ["a", "b"]


def test_an_empty_table_gives_an_empty_summary():
    assert tables.means(ONE.iloc[:0], "recall", "arm").empty
    assert tables.shares(ONE.iloc[:0], "recall", ["arm", "place"], 0.5).columns.tolist() == ["arm", "place"]


def test_a_difference_is_second_less_first_and_paired_as_scipy_does_it():
    found = tables.difference(ONE.sample(frac=1, random_state=1), "recall", "a", "b", by="arm")
    oracle = scipy_stats.ttest_rel(DRAWN[1], DRAWN[0]).confidence_interval()
    assert tuple(found) == pytest.approx((DRAWN[1].mean() - DRAWN[0].mean(), oracle.low, oracle.high, 5))


def test_seeds_that_only_one_group_has_are_left_out():
    lacking = ONE[~((ONE["arm"] == "a") & (ONE["seed"] == 2))]
    assert tables.difference(lacking, "recall", "a", "b", by="arm").seeds == 4


def test_a_group_that_is_missing_or_has_several_rows_a_seed_is_refused_with_what_came():
    with pytest.raises(
        ValueError, match=r"one row a seed of arm 'a' and of 'c'; the table has rows of {'a': 5, 'b': 5}"
    ):
        tables.difference(ONE, "recall", "a", "c", by="arm")
    with pytest.raises(ValueError, match=r"the table has rows of {'a': 10, 'b': 10}"):
        tables.difference(TWO, "recall", "a", "b", by="arm")


def test_differences_have_a_row_a_condition_with_both_means():
    found = tables.differences(TWO, "recall", "a", "b", by="arm", across="place")
    assert found.columns.tolist() == ["place", "seeds", "a", "b", "difference", "low", "high"]
    assert found["difference"].tolist() == pytest.approx([DRAWN[1].mean() - DRAWN[0].mean()] * 2)
    assert (found["b"] - found["a"]).tolist() == pytest.approx(found["difference"].tolist())


def test_shares_count_the_seeds_at_or_above_the_level():
    table = pd.DataFrame(
        {"arm": ["a"] * 4 + ["b"], "seed": [0, 1, 2, 3, 0], "recall": [0.9, 0.95, 0.89, math.nan, 1.0]}
    )
    found = tables.shares(table, "recall", "arm", 0.9).set_index("arm")
    oracle = scipy_stats.binomtest(2, 4).proportion_ci(method="wilson")
    assert found.loc["a"].tolist() == ["2 of 4", 4, 0.5, pytest.approx(oracle.low), pytest.approx(oracle.high)]
    assert found.loc["b", "count"] == "1 of 1"
