"""Intervals cover what they should, and equal input gives equal output."""

import math

import numpy as np
import pytest

from lablib.core.stats import Interval, bootstrap_mean, paired_difference, wilson


def test_the_estimate_is_the_mean_and_lies_inside_its_interval():
    values = [0.1, 0.4, 0.35, 0.8, 0.6]
    found = bootstrap_mean(values)
    assert found.estimate == pytest.approx(np.mean(values))
    assert min(values) <= found.low <= found.estimate <= found.high <= max(values)


def test_equal_input_gives_equal_output_whatever_was_drawn_before():
    first = bootstrap_mean([1.0, 2.0, 4.0])
    np.random.default_rng().random(10)
    assert bootstrap_mean([1.0, 2.0, 4.0]) == first


@pytest.mark.parametrize("values", [[0.7], [0.7, 0.7, 0.7]], ids=["one value", "all the same"])
def test_values_that_do_not_vary_have_an_interval_without_width(values):
    assert bootstrap_mean(values) == pytest.approx(Interval(0.7, 0.7, 0.7))


def test_the_bootstrap_interval_covers_the_mean_about_as_often_as_it_says():
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        found = bootstrap_mean(generator.normal(3.0, 1.0, size=30), draws=400)
        covered += found.low <= 3.0 <= found.high
    assert 0.89 <= covered / 300 <= 0.99  # a percentile bootstrap of 30 is a little short of 95 %


def test_the_interval_shrinks_with_the_root_of_the_number_of_seeds():
    values = np.random.default_rng(2).normal(size=400)
    width = {n: (lambda i: i.high - i.low)(bootstrap_mean(values[:n])) for n in (25, 400)}
    assert width[25] / width[400] == pytest.approx(4, rel=0.35)


def test_a_paired_difference_removes_what_seeds_share():
    shared = np.array([0.0, 10.0, -20.0, 35.0, 7.0])
    found = paired_difference(shared, shared + np.array([0.9, 1.0, 1.1, 1.0, 1.0]))
    assert found.estimate == pytest.approx(1.0)
    assert 0.9 <= found.low <= found.high <= 1.1
    back = paired_difference(shared + 1.0, shared)
    assert back.estimate == pytest.approx(-1.0)


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


def test_an_interval_is_spelled_with_the_format_of_its_numbers():
    interval = Interval(0.5, 0.25, 1.0)
    assert f"{interval}" == "0.50 [0.25, 1.00]"
    assert f"{interval:.0%}" == "50% [25%, 100%]"


def test_what_has_no_mean_and_what_is_no_share_is_refused():
    with pytest.raises(ValueError, match="a mean needs at least one value; got none"):
        bootstrap_mean([])
    with pytest.raises(ValueError, match="pairs need equal lengths; got 2 and 3"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])
    for successes, trials in ((-1, 5), (6, 5), (0, 0)):
        with pytest.raises(ValueError, match=f"{successes} of {trials} is no share"):
            wilson(successes, trials)


def test_a_value_that_is_not_a_number_shows():
    assert math.isnan(bootstrap_mean([1.0, math.nan]).estimate)
