"""What notebook 02 says of the cures holds in the recorded tables."""

import pytest

from lablib.longcontext import cures
from lablib.longcontext.experiments.lengths import RATES, lengths
from lablib.longcontext.experiments.warmup import RECIPES, warmup

FAR = 16_384
NARROW, SCRATCH, WARM, COPY, SLOWLY, ANEW = RECIPES


# ---- a: the warm-up


@pytest.fixture(scope="module")
def recorded():
    return warmup.recorded()


@pytest.fixture(scope="module")
def means(recorded):
    return cures.by_recipe(recorded, FAR).set_index("recipe")


def test_five_seeds_of_each_recipe_answer_alike_at_the_training_length(means):
    assert means.loc[list(RECIPES), "seeds"].tolist() == [5] * 6
    assert means.loc[[NARROW, SCRATCH, WARM, SLOWLY, ANEW], "accuracy"].min() > 0.99


def test_the_seesaw_has_two_sides(recorded, means):
    assert means.loc[NARROW, "exact"] > 0.99
    assert cures.against(recorded, "exact", FAR, NARROW, SCRATCH).high < -0.5
    assert cures.against(recorded, "local_loss", FAR, NARROW, SCRATCH).high < -0.45


def test_a_short_and_dense_start_rescues_the_wide_window_at_a_tenth_of_its_local_gain(recorded, means):
    assert means.loc[WARM, "exact"] > 0.95
    assert cures.against(recorded, "exact", FAR, SCRATCH, WARM).low > 0.5
    paid = cures.against(recorded, "local_loss", FAR, SCRATCH, WARM)
    gained = cures.against(recorded, "local_loss", FAR, NARROW, SCRATCH)
    assert 0 < paid.estimate < 0.12 * -gained.estimate


def test_self_copy_retrieves_as_well_with_the_worse_local_loss(recorded):
    assert abs(cures.against(recorded, "exact", FAR, WARM, COPY).estimate) < 0.05
    assert cures.against(recorded, "local_loss", FAR, WARM, COPY).low > 0.3


def test_a_slow_joint_keeps_retrieval_and_a_new_schedule_loses_some(recorded):
    assert cures.against(recorded, "exact", FAR, WARM, SLOWLY).low > -0.02
    assert cures.against(recorded, "exact", FAR, WARM, ANEW).high < 0


# ---- b: lengths


def test_long_rows_from_the_beginning_teach_least_at_every_rate():
    table = lengths.recorded()
    best = cures.ways_compared(table, 65_536).set_index("way")["exact"]
    assert best["short throughout"] > 0.9
    assert best["curriculum"] > 0.9
    assert best["long from the beginning"] < 0.6
    assert set(table["curriculum.optim.lr"]) == set(RATES)
