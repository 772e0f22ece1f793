"""What notebook 02 says of the cures holds in the recorded tables."""

import pytest

from lablib.longcontext import cures
from lablib.longcontext.experiments.finetuning import finetuning
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


def test_long_rows_from_the_beginning_teach_less_than_short_ones_and_the_curriculum_at_every_rate():
    table = lengths.recorded()
    means = cures.by_recipe(table, 65_536, ("recipe", "curriculum.optim.lr")).set_index(
        ["recipe", "curriculum.optim.lr"]
    )
    for rate in RATES:
        for way in ("short throughout", "curriculum"):
            assert means.loc[(way, rate), "low"] > means.loc[("long from the beginning", rate), "high"]


# ---- d: fine-tuning


@pytest.fixture(scope="module")
def tuned():
    return finetuning.recorded()


def test_short_rows_harm_what_they_do_not_ask_for_and_a_share_of_long_rows_keeps_it(tuned):
    lost = cures.decay(tuned, "recall_16384").set_index("recipe")
    assert lost["seeds"].tolist() == [5] * 5
    assert lost.loc["short rows", "high"] < -0.05
    for kept in ("a tenth of long rows", "a third of long rows", "narrow window, short rows"):
        assert lost.loc[kept, "low"] > -0.05
    near = cures.by_recipe(tuned, FAR, near=64).set_index("recipe")
    assert near.loc["short rows", "accuracy"] > 0.99
    assert near.loc["short rows", "exact"] < 0.8
    assert near.loc["a third of long rows", "exact"] > 0.99
    assert abs(near.loc["a third of long rows", "local_loss"] - near.loc["short rows", "local_loss"]) < 0.02


def test_rows_without_needles_unlearn_them_near_and_far(tuned):
    near = cures.by_recipe(tuned, FAR, near=64).set_index("recipe").loc["short rows, no needles"]
    assert near["accuracy"] < 0.1
    assert near["exact"] < 0.1
