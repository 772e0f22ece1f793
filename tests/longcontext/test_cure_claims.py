"""What notebook 02 says of the cures holds in the recorded tables."""

import pandas as pd
import pytest

from lablib.core.stats import paired_difference
from lablib.longcontext import cures
from lablib.longcontext.experiments.finetuning import finetuning
from lablib.longcontext.experiments.lengths import RATES, ingredients, lengths
from lablib.longcontext.experiments.steered import balance, steered
from lablib.longcontext.experiments.warmup import RECIPES, schedules, warmup

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


# ---- c: ingredients, exploratory


def test_near_needles_and_mean_landmarks_cost_little_and_dense_top_k_is_less_sure():
    recalls = cures.outcomes(ingredients.recorded(), FAR).groupby("recipe")["exact"]
    assert recalls.size().tolist() == [3] * 5
    lowest = recalls.min()
    assert (
        lowest["dense top-k"] < 0.3 < 0.6 < lowest["needles near their question"] < lowest["sparse, needles anywhere"]
    )
    assert lowest["two-token keys, mean landmarks"] > lowest["two-token keys, encoded landmarks"] > 0.9


def test_a_short_warm_up_rescues_less_and_a_long_one_leaves_no_time_for_the_local_rule():
    grid = cures.by_recipe(schedules.recorded(), FAR).set_index("recipe")
    short, long = (grid.loc[f"{share} of the steps with window 8, top-k dense"] for share in ("10%", "60%"))
    assert short["exact"] < 0.5 < 0.99 < long["exact"]
    assert short["local_loss"] < 2.3 < 2.7 < long["local_loss"]
    assert grid.loc["40% of the steps with window 8, top-k 4", "exact"] > 0.95


# ---- d: fine-tuning


@pytest.fixture(scope="module")
def tuned():
    return finetuning.recorded()


def test_short_rows_harm_what_they_do_not_ask_for_and_a_share_of_long_rows_keeps_it(tuned):
    lost = cures.decay(tuned, "recall_16384").set_index("recipe")
    assert lost["seeds"].tolist() == [5] * 7
    for harmed in ("short rows", "after long rows: short rows"):
        assert lost.loc[harmed, "high"] < -0.05
    keep = ("a tenth of long rows", "a third of long rows", "after long rows: a third of long rows")
    for kept in (*keep, "narrow window, short rows"):
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


# ---- e: curricula that follow the model


def test_the_window_that_follows_the_model_recalls_as_the_best_plan_at_a_lower_local_loss(recorded):
    both = pd.concat([recorded, steered.recorded()])
    follows = "window widens while retrieval holds"
    assert cures.against(both, "exact", FAR, WARM, follows).low > -0.03
    assert cures.against(both, "local_loss", FAR, WARM, follows).high < 0


def test_the_monitors_act_in_one_seed_and_holding_keeps_retrieval_there(recorded):
    arms = cures.outcomes(pd.concat([recorded, steered.recorded()]), FAR).set_index(["recipe", "seed"])
    for monitor in ("monitor holds the window", "monitor raises retrieval"):
        gained = arms.loc[monitor, "exact"] - arms.loc[ANEW, "exact"]
        assert (gained == 0).sum() == 4
        assert gained.max() > 0.05
    held = arms.loc["monitor holds the window"]
    assert held.loc[0, "exact"] == 1
    assert held.loc[0, "local_loss"] > 2.7


def test_no_share_of_reasoning_is_told_from_the_one_that_follows_need():
    arms = cures.outcomes(balance.recorded(), FAR)
    weaker = arms.assign(weaker=cures.balanced(arms)).pivot(index="seed", columns="recipe", values="weaker")
    for share in ("25%", "50%", "75%"):
        difference = paired_difference(weaker[f"reasoning {share}"], weaker["reasoning by need"])
        assert difference.low < 0 < difference.high


def test_no_way_to_steer_lengths_comes_up_to_short_rows_at_their_best_rate():
    both = pd.concat([lengths.recorded(), steered.recorded()]).query("`curriculum.optim.lr` == 0.002")
    for steered_by in ("lengths by need", "lengths by a bandit"):
        assert cures.against(both, "exact", FAR, "short throughout", steered_by).high < 0
    as_random = cures.against(both, "exact", FAR, "random lengths", "lengths by need")
    assert as_random.low < 0 < as_random.high
