"""The claims of notebook 01, lettered as they were written down before the recording, hold in the recorded table."""

import pytest

from lablib.longcontext import summaries
from lablib.longcontext.experiments.seesaw import seesaw

NARROW, WIDE, CHANCE = 8, 64, 1 / 16


@pytest.fixture(scope="module")
def table():
    return seesaw.recorded()


def mean(table, variant, window, length, measure="exact") -> float:
    rows = summaries.recall(table, variant, measure).set_index(["window", "length"])
    return rows.loc[(window, length), measure]


def test_a_the_narrow_window_answers_at_64k_and_on_to_a_million(table):
    assert mean(table, summaries.PLAIN, NARROW, 65_536) >= 0.99
    assert mean(table, summaries.PLAIN, NARROW, 1_048_576) >= 0.99


@pytest.mark.parametrize("length", [16_384, 65_536])
def test_b_recall_and_the_share_of_seeds_fall_with_the_window(table, length):
    shares = summaries.share_of_seeds(table, length).set_index("window")["share"]
    assert shares.is_monotonic_decreasing
    assert summaries.rank_correlation(table, length)["rank_correlation"].max() < 0
    assert summaries.difference(table, "exact", length, NARROW, WIDE).high < 0
    seeds = summaries.recall(table).set_index(["window", "length"])["seeds"]
    assert seeds[(NARROW, length)] == seeds[(WIDE, length)] == 10


def test_b_at_the_training_length_both_end_windows_answer_alike(table):
    interval = summaries.difference(table, "exact", 64, NARROW, WIDE)
    assert abs(interval.estimate) < 0.01


def test_c_with_a_local_component_the_wide_window_has_the_lower_loss(table):
    kind = "local component, every token"
    assert summaries.difference(table, "loss", 64, NARROW, WIDE, variant=kind, phase="heldout").high < 0


def test_d_less_gradient_reaches_hsa_with_the_wide_window(table):
    mass = summaries.gradient_mass(table).pivot(index="seed", columns="model.window", values="hsa_grad").dropna()
    assert (mass[WIDE] < mass[NARROW]).all()


def test_e_the_controls_fail_beyond_their_reach(table):
    assert mean(table, "SWA only", NARROW, 65_536) == pytest.approx(CHANCE, abs=0.03)
    assert mean(table, "SWA only", WIDE, 65_536) == pytest.approx(CHANCE, abs=0.03)
    assert mean(table, "full attention, RoPE", NARROW, 4096) == pytest.approx(CHANCE, abs=0.03)
    assert mean(table, "concatenated softmax", NARROW, 65_536) < 0.5


def test_the_ranking_of_the_end_windows_survives_every_change(table):
    means = (
        summaries.recall(table, None).query("length == 16_384").pivot(index="variant", columns="window", values="exact")
    )
    changed = means.drop(index="SWA only")[[NARROW, WIDE]].dropna()
    assert len(changed) == 8
    assert (changed[NARROW] - changed[WIDE] > 0.2).all()
