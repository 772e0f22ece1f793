"""Summaries on tables small enough to count by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from lablib.core.budget import budget
from lablib.longcontext import summaries
from lablib.longcontext.experiments.seesaw import SeesawConfig
from lablib.longcontext.figures import seesaw as figures


def arm(window: int, seed: int, exact: float, **changes) -> pd.DataFrame:
    """One arm of the plain model with one test row at 64 tokens, one held-out row and two training rows."""
    cfg = SeesawConfig().replace(model__window=window, seed=seed, **changes)
    rows = pd.DataFrame(
        [
            {"phase": "train", "step": 10, "length": 64, "loss": 1.0, "hsa_grad": 2.0, "retrieval_grad": 1.0},
            {"phase": "train", "step": 20, "length": 64, "loss": 0.05, "hsa_grad": 1.0, "retrieval_grad": 0.5},
            {"phase": "heldout", "length": 64, "loss": 0.1 * window},
            {"phase": "test", "length": 64, "exact": exact, "state_bytes": 1024},
        ]
    )
    flat = {k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in cfg.flat().items()}
    extra = {
        "parameters": 5,
        "train_tokens": 6,
        "train_flops": 7e9,
        "arm": cfg.digest(),
        "cpu_seconds": 8.0,
        "store": "own",
    }
    return rows.assign(**flat, **extra, other_grad=0.0)


@pytest.fixture
def table() -> pd.DataFrame:
    arms = [arm(8, 0, 1.0), arm(8, 1, 0.9), arm(64, 0, 0.2), arm(64, 1, 0.3)]
    return pd.concat([*arms, arm(8, 0, 0.5, model__plan="swa swa")], ignore_index=True)


def test_a_variant_is_named_by_what_was_changed(table):
    named = summaries.with_variant(table)
    assert set(named["variant"]) == {summaries.PLAIN, "SWA only"}
    assert set(named["reach"]) == {14, 126}


@pytest.mark.parametrize("name", list(summaries.VARIANTS))
def test_every_variant_differs_from_the_plain_model_and_is_recorded_as_an_arm(name):
    flats = [cfg.flat() for cfg in summaries_arms()]
    conditions = summaries.VARIANTS[name]
    assert any(flat[column] != value for column, value in conditions.items() for flat in [SeesawConfig().flat()])
    assert any(all(flat[column] == value for column, value in conditions.items()) for flat in flats)


def summaries_arms():
    from lablib.longcontext.experiments.seesaw import seesaw_arms

    return seesaw_arms("full")


def test_recall_is_the_mean_over_seeds_of_one_variant(table):
    means = summaries.recall(table).set_index("window")
    assert means.loc[8, "exact"] == pytest.approx(0.95)
    assert means.loc[64, "seeds"] == 2
    assert math.isnan(means.loc[8, "low"]), "two seeds have no interval"


def test_share_counts_the_seeds_at_or_above_the_line(table):
    shares = summaries.share_of_seeds(table, 64).set_index("window")
    assert shares.loc[8, "count"] == "2 of 2"
    assert shares.loc[64, "share"] == 0


def test_a_difference_is_paired_by_seed(table):
    interval = summaries.difference(table, "exact", 64, 8, 64)
    assert interval.estimate == pytest.approx(np.mean([0.2 - 1.0, 0.3 - 0.9]))


def test_rank_correlation_is_minus_one_where_recall_only_falls(table):
    assert set(summaries.rank_correlations(table, 64).round(6)) == {-1.0}


def test_gradient_mass_sums_the_steps_and_finds_the_first_below_the_line(table):
    mass = summaries.gradient_mass(table)
    assert set(mass["hsa_grad"]) == {3.0}
    assert set(mass["steps_to_learn"]) == {20.0}


def test_the_budget_has_a_row_a_variant_and_window_with_the_state_at_1k(table):
    longer = table.assign(length=table["length"].where(table["phase"] != "test", 1024))
    found = budget(summaries.by_variant(longer)).set_index("experiment")
    assert found["arms"].to_dict() == {"SWA + HSA, window 64": 2, "SWA + HSA, window 8": 2, "SWA only, window 8": 1}
    assert set(found["KiB kept (most)"]) == {1}


def test_growth_recovers_a_known_exponent():
    lengths = np.array([1, 2, 4, 8, 16])
    rows = pd.DataFrame({"work": "w", "seed": 0, "length": lengths, "work_seconds": 3e-3 * lengths**2.0})
    assert summaries.growth(rows)["exponent"].iloc[0] == pytest.approx(2.0)


@pytest.mark.parametrize(
    "name", [name for name in vars(figures) if name.endswith("_figure") and name != "pattern_figure"]
)
def test_a_figure_of_nothing_says_what_to_do(name):
    figure = getattr(figures, name)(pd.DataFrame())
    assert "lab record" in figure.layout.annotations[0].text


def test_own_runs_are_drawn_over_the_recorded_ones(table):
    alone, both = figures.seesaw_figure(table), figures.seesaw_figure(table, table)
    assert len(both.data) == len(alone.data) + 2
    assert "your own runs" in both.layout.title.text


def test_no_number_is_drawn_from_an_arm_without_it(table):
    empty = table.assign(exact=math.nan)
    assert not [trace for trace in figures.controls_figure(empty).data if trace.y is not None and len(trace.y)]


def test_growth_fits_two_lengths_where_there_are_no_more():
    rows = pd.DataFrame({"work": "w", "seed": 0, "length": [256, 512], "work_seconds": [1.0, 4.0]})
    assert summaries.growth(rows)["exponent"].iloc[0] == pytest.approx(2.0)
