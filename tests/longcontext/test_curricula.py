"""Tables with a known answer give that answer; a replayed schedule is the recorded one."""

import math

import numpy as np
import pandas as pd
import pytest

from lablib.longcontext import curricula, replay
from lablib.longcontext.stages import Curriculum, Stage

RATE = "curriculum.optim.lr"


def arm(recipe: str, seed: int, *, exact: float, local: float = 2.0, rate: float = 4e-3, recalls=(1.0, 1.0), **extra):
    """The table of one arm: two logged probes before the transition at step 20 and two after, then its answers."""
    steps = [10, 20, 30, 40]
    both = [1.0, 1.0, *recalls]
    train = pd.DataFrame(
        {"phase": "train", "step": steps, "stage": [0, 0, 1, 1], "loss": [3.0, 1.0, 1.0, 0.5],
         "global_share": 0.4, "global_grad": 0.3, "recall_64": 1.0, "recall_4096": both,
         "window": [8, 8, 64, 64], "top_k": [8, 8, 4, 4], "row_length": 64}
    )  # fmt: skip
    near = pd.DataFrame({"phase": "heldout", "length": [64, 128], "local_loss": [9.0, local], "accuracy": [0.5, 0.9]})
    far = pd.DataFrame(
        {"phase": "test", "length": [64, 4096, 4096], "asked_top_k": [4, 4, 16], "exact": [1.0, exact, 0.0]}
    )
    name = f"{recipe} {seed} {rate}"
    facts = {"arm": name, "recipe": recipe, "seed": seed, RATE: rate, "cpu_seconds": 10.0 + seed, "store": "own",
             "diverged": 0.0, "train_answers": 100.0, "probe_lengths": "64 4096", "probe_questions": 50,
             "haystacks": 1, "questions": 50, "curriculum.stages.0.mix.plain": 0.5}  # fmt: skip
    return pd.concat([train, near, far], ignore_index=True).assign(**facts, **extra)


def tables(*arms: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(arms, ignore_index=True)


TWO = tables(*(arm("a", s, exact=0.5 + s / 10) for s in (0, 1)), *(arm("b", s, exact=1.0, local=3.0) for s in (0, 1)))


def test_an_outcome_is_that_of_the_longest_training_rows_and_the_last_top_k():
    arms = curricula.outcomes(TWO, 4096).set_index(["recipe", "seed"])
    assert arms.loc[("a", 1), "exact"] == 0.6, "asked with the smallest top-k"
    assert arms.loc[("b", 0), "local_loss"] == 3.0, "not that of the shorter rows"
    assert curricula.outcomes(TWO, 4096, near=64)["local_loss"].tolist() == [9.0] * 4, "unless they are asked for"


def test_means_stand_in_the_order_of_the_table_with_an_interval_from_five_seeds_on():
    found = curricula.by_recipe(TWO, 4096)
    assert found["recipe"].tolist() == ["a", "b"]
    assert found["exact"].tolist() == pytest.approx([0.55, 1.0])
    assert found["low"].isna().all(), "two seeds have no interval"
    more = curricula.by_recipe(tables(*(arm("a", s, exact=0.5 + s / 10) for s in range(5))), 4096)
    assert (more["low"] < more["exact"]).all()
    assert (more["exact"] < more["high"]).all()
    assert found["CPU-s an arm (most)"].tolist() == [11.0, 11.0]


def test_a_difference_is_paired_by_seed_and_second_less_first():
    found = curricula.against(TWO, "exact", 4096, "a", "b")
    assert (found.estimate, found.seeds) == (pytest.approx(0.45), 2)
    with pytest.raises(ValueError, match="expected one row a seed of recipe 'a' and of 'c'"):
        curricula.against(TWO, "exact", 4096, "a", "c")
    with pytest.raises(ValueError, match="'a': 4"):
        curricula.against(tables(TWO, *(arm("a", s, exact=0.5, rate=0.1) for s in (0, 1))), "exact", 4096, "a", "b")


def test_a_diverged_arm_answers_nothing():
    gone = pd.DataFrame(
        [{"phase": "test", "length": 4096, "diverged": 1.0, "arm": "x", "recipe": "a", "seed": 2, RATE: 0.1,
          "cpu_seconds": 1.0, "store": "own"}]
    )  # fmt: skip
    arms = curricula.outcomes(tables(TWO, gone), 4096).set_index("arm")
    assert arms.loc["x", "exact"] == 0.0
    compared = curricula.ways_compared(tables(TWO, gone), 4096, 64, "recall_4096").set_index("way")
    assert compared.loc["a", "diverged"] == "1 of 3"
    assert compared.loc["a", "best rate"] == 4e-3
    assert compared.loc["a", "worst rate"] == 0.0


def test_the_probes_after_a_joint_are_counted_from_the_last_one_before_it():
    table = tables(arm("a", 0, exact=1, recalls=(0.9, 0.4)), arm("a", 1, exact=1, recalls=(0.8, 0.6)))
    rows = curricula.after_transition(table)
    assert rows.groupby("since")["recall_4096"].mean().to_dict() == pytest.approx({0: 1.0, 10: 0.85, 20: 0.5})
    found = curricula.decay(table, "recall_4096").iloc[0]
    assert (found["first"], found["last"], found["steps"]) == (1.0, 0.5, 20)
    assert found["difference"] == pytest.approx(-0.5)


def test_a_model_that_was_trained_before_is_the_beginning():
    before = pd.DataFrame([{"phase": "before", "step": 0, "recall_4096": 0.7, "global_share": 0.5}])
    tuned = arm("a", 0, exact=1, recalls=(0.9, 0.4)).assign(stage=0)
    tuned = tables(before.assign(arm="a 0 0.004", recipe="a", seed=0), tuned)
    assert curricula.after_transition(tuned)["since"].tolist() == [0, 10, 20, 30, 40]
    found = curricula.decay(tuned, "recall_4096").iloc[0]
    assert (found["first"], found["last"]) == (0.7, 0.4)


def test_a_run_of_one_stage_is_counted_from_its_beginning():
    table = arm("a", 0, exact=1).assign(stage=0)
    assert curricula.after_transition(table)["since"].tolist() == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("recalls", "drops"),
    [([0.1, 0.5, 0.9, 1.0], 0), ([0.1, 0.9, 0.8, 1.0], 0), ([0.1, 0.9, 0.6, 1.0], 1), ([0.9, 0.5, 0.5], 2)],
)
def test_a_drop_lies_well_below_the_best_look_before(recalls, drops):
    run = pd.DataFrame({"step": range(len(recalls)), "recall": recalls})
    blank = pd.DataFrame({"step": [0.5, 1.5], "recall": math.nan})
    assert curricula.num_drops(tables(run, blank).sample(frac=1, random_state=0), "recall") == drops
    assert math.isnan(curricula.num_drops(blank, "recall")), "nothing was looked at"


def test_the_best_rate_is_chosen_at_another_length_than_the_one_reported():
    slow, fast = arm("a", 0, exact=0.2, rate=1e-3), arm("a", 0, exact=0.9, rate=1e-2)
    fast.loc[fast["length"] == 64, "exact"] = 0.5
    found = curricula.ways_compared(tables(slow, fast), 4096, 64, "recall_4096").iloc[0]
    assert (found["best rate"], found["exact"], found["worst rate"]) == (1e-3, 0.2, 0.2)


def test_a_balance_is_as_good_as_its_weaker_side():
    arms = pd.DataFrame({"exact": [1.0, 0.2], "exact_reasoning": [0.4, 0.9]})
    assert curricula.balanced(arms).tolist() == [0.4, 0.2]


# ---- the explorers


def test_a_drawn_schedule_is_the_one_that_was_asked_for():
    drawn = replay.drawn(40, 8, "dense", 64, "64 to 512")
    assert isinstance(drawn, Curriculum)
    assert [drawn.window_at(step) for step in (0, 39, 40, 99)] == [8, 8, 64, 64]
    assert [max(drawn.at_step(step).lengths) for step in (0, 24, 25, 50, 75)] == [64, 64, 128, 256, 512]
    assert drawn.top_k_at(0, 8) == 8
    assert drawn.top_k_at(99, 8) == 4
    assert replay.drawn(0, 8, "4", 64, "64").window_at(0) == 64


def test_the_nearest_recorded_schedule_is_found_and_its_outcome_shown():
    scratch = arm("wide from scratch", 0, exact=0.2).assign(stage=0)
    scratch.loc[scratch["phase"] == "train", ["window", "top_k"]] = [64, 4]
    explorer = replay.schedule_explorer(tables(arm("warm", 0, exact=0.9), scratch))
    titles = {}
    for warm_up in (0, 40):
        explorer.sliders["warm_up"].value = warm_up
        titles[warm_up] = explorer.figure.layout.title.text
    assert "Nearest: wide from scratch" in titles[0]
    assert "Nearest: warm" in titles[40]


def test_a_schedule_that_never_showed_the_local_rule_shows_no_local_loss():
    for plain, skill in ((0.0, "trained on needles alone"), (0.5, "local loss")):
        table = arm("warm", 0, exact=0.9).assign(**{"curriculum.stages.0.mix.plain": plain})
        assert skill in replay.schedule_explorer(table).figure.layout.title.text


def test_the_curves_of_a_recorded_run_are_those_that_were_logged():
    curves = replay.recorded_curves(arm("warm", 0, exact=0.9))["warm"]
    wanted = replay.curves_of(
        Curriculum(stages=(Stage(start=0, stop=20, top_k=None), Stage(start=20, stop=40, window=64)))
    )
    assert curves.shape == wanted.shape == (3, 20)
    assert np.abs(curves - wanted).mean() < 0.3


def test_the_replay_shows_nothing_that_came_later():
    explorer = replay.replay_explorer(tables(arm("a", 0, exact=1, recalls=(0.9, 0.4)), arm("b", 0, exact=1)))
    explorer.sliders["until"].value = 30
    assert 30 <= max(max(trace.x) for trace in explorer.figure.data if len(trace.x)) < 31  # seeds stand aside
    explorer.sliders["recipe"].value = "b"
    assert "b" in explorer.figure.layout.title.text
