"""Intervals agree with scipy's own tests, cover what they should, and are refused below five seeds."""

import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from lablib.core.stats import Interval, mean_interval, paired_difference, rank_correlation, wilson


@pytest.mark.parametrize("seeds", [5, 7, 10, 40])
def test_the_interval_is_that_of_scipys_t_test(seeds):
    values = np.random.default_rng(seeds).normal(0.4, 0.2, size=seeds)
    found, oracle = mean_interval(values), scipy_stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.estimate == pytest.approx(values.mean())
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert found.seeds == seeds


@pytest.mark.parametrize("seeds", [5, 10])
def test_the_interval_of_few_seeds_covers_the_mean_as_often_as_it_says(seeds):
    generator, covered, trials = np.random.default_rng(1), 0, 2000
    for _ in range(trials):
        found = mean_interval(generator.normal(3.0, 1.0, size=seeds))
        covered += found.low <= 3.0 <= found.high
    assert 0.935 <= covered / trials <= 0.965


@pytest.mark.parametrize("seeds", [1, 2, 3, 4])
def test_fewer_than_five_seeds_have_a_mean_and_no_interval(seeds):
    found = mean_interval([0.5] * seeds)
    assert found.estimate == 0.5
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_values_that_do_not_vary_have_an_interval_without_width():
    assert mean_interval([0.7] * 5) == pytest.approx(Interval(0.7, 0.7, 0.7, 5))


def test_a_paired_difference_removes_what_seeds_share():
    shared = np.array([0.0, 10.0, -20.0, 35.0, 7.0])
    more = shared + np.array([0.9, 1.0, 1.1, 1.0, 1.0])
    found, oracle = paired_difference(shared, more), scipy_stats.ttest_rel(more, shared).confidence_interval()
    assert found.estimate == pytest.approx(1.0)
    assert (found.low, found.high) == pytest.approx((oracle.low, oracle.high))
    assert found.low > 0
    assert paired_difference(more, shared).high < 0
    nothing = paired_difference([0, 0, 0, 0, 0], [1, -1, 2, -2, 1])
    assert nothing.low <= 0 <= nothing.high


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_is_the_one_in_the_literature(successes, trials, low, high):
    found = wilson(successes, trials)
    assert found.estimate == successes / trials
    assert found.low == pytest.approx(low, abs=6e-5)
    assert found.high == pytest.approx(high, abs=6e-5)


@pytest.mark.parametrize("trials", [1, 5, 10])
def test_wilsons_interval_stays_within_shares_and_mirrors(trials):
    for successes in range(trials + 1):
        found, mirrored = wilson(successes, trials), wilson(trials - successes, trials)
        assert 0 <= found.low <= found.estimate + 1e-12
        assert found.estimate - 1e-12 <= found.high <= 1
        assert found.low == pytest.approx(1 - mirrored.high)


def test_an_interval_is_printed_with_its_bounds_or_with_the_word_exploratory():
    interval = Interval(0.5, 0.25, 1.0, 5)
    assert f"{interval}" == "0.50 [0.25, 1.00]"
    assert f"{interval:.0%}" == "50% [25%, 100%]"
    assert f"{mean_interval([0.7, 0.8, 0.9])}" == "0.80 (3 seeds, exploratory)"
    assert f"{mean_interval([0.7]):.1f}" == "0.7 (1 seed, exploratory)"
    assert f"{mean_interval([math.nan] * 6)}" == "nan (6 seeds)"


def test_ranks_that_agree_or_never_vary():
    assert rank_correlation([1, 2, 30], [0.1, 0.2, 0.3]) == pytest.approx(1)
    assert rank_correlation([1, 2, 2, 4], [4, 3, 3, 1]) == pytest.approx(-1)
    assert math.isnan(rank_correlation([1, 2, 3], [1, 1, 1]))
    assert math.isnan(rank_correlation([1], [1]))


def test_what_has_no_mean_and_what_is_no_share_is_refused():
    with pytest.raises(ValueError, match="a mean needs at least one value; got none"):
        mean_interval([])
    with pytest.raises(ValueError, match="pairs need equal lengths; got 2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    for successes, trials in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match=f"{successes} of {trials} is no share"):
            wilson(successes, trials)


def test_a_value_that_is_not_a_number_shows():
    assert math.isnan(mean_interval([1.0, math.nan]).estimate)
    assert math.isnan(mean_interval([1.0, math.nan, 1, 1, 1]).low)
