"""What notebook 01 says of its doubts holds in the recorded tables."""

import pytest

from lablib.core.stats import paired_difference
from lablib.longcontext import doubts
from lablib.longcontext.experiments.harder import harder
from lablib.longcontext.experiments.race import race
from lablib.longcontext.experiments.seesaw import tuning
from lablib.longcontext.experiments.tracking import tracking

FAR = 65_536


# ---- doubt 1: law, race or budget


@pytest.fixture(scope="module")
def raced():
    return race.recorded()


def test_the_wide_model_is_the_first_to_answer_at_the_training_length(raced):
    steps = doubts.steps_to_criterion(raced).pivot(index="seed", columns="group", values="steps")
    assert len(steps[["window 8", "window 64"]].dropna()) == 10
    assert paired_difference(steps["window 8"], steps["window 64"]).high < 0


def test_hsa_answers_in_the_narrow_model_and_the_windows_in_the_wide_one(raced):
    shares = doubts.circuit_shares(raced).set_index(["group", "part"])
    for part in (1, 2):
        assert shares.loc[("window 8", part), "HSA"] == 10
        assert shares.loc[("window 64", part), "windows"] == 10


def test_more_training_adds_nothing_to_the_wide_model_unless_its_windows_are_cut(raced):
    assert doubts.gained(raced, "window 64").high < 0.05
    assert doubts.gained(raced, "window 64, then 8").low > 0.5
    far = doubts.circuits(raced).query("group == 'window 64, then 8' and part == 2")["far"]
    assert far.min() > 0.99


# ---- doubt 2: tuning


def test_the_ranking_survives_every_setting():
    settings = doubts.tuned_ends(tuning.recorded(), 16_384)
    assert len(settings) == 7
    assert (settings["high"] < 0).all()


# ---- doubt 3: harder haystacks


@pytest.fixture(scope="module")
def ends():
    return doubts.harder_ends(harder.recorded(), FAR).set_index(["trained_on", "condition"])


def test_trained_on_one_needle_a_model_finds_a_needle_and_not_the_one_asked_for(ends):
    narrow = ends.loc["one needle", "window 8"]
    assert narrow["one needle"] > 0.99
    assert 0.4 < narrow["one distractor"] < 0.6
    assert narrow["growing distractors"] < 0.1


def test_trained_on_six_it_matches_keys_among_a_thousand_distractors(ends):
    assert ends.loc[("six needles", "growing distractors"), "window 8"] > 0.85


def test_other_forms_of_the_needle_cost_little(ends):
    narrow = ends.loc["one needle", "window 8"]
    assert min(narrow["no marker"], narrow["a gap in the needle"]) > 0.98


def test_the_wide_window_retrieves_less_in_every_kind_of_rows(ends):
    assert (ends.xs("one needle", level="condition")["high"] < 0).all()


def test_in_real_text_the_wide_window_retrieves_nothing(ends):
    assert ends.loc[("one needle in real text", "one needle"), "window 64"] < 0.15


# ---- doubt 4: two look-ups


def test_two_groups_follow_a_chain_and_one_does_not():
    found = doubts.chain_recall(tracking.recorded(), FAR).set_index("model")
    assert found.loc["one group", "high"] < 0.6
    assert found.loc["two groups", "low"] > found.loc["one group", "high"]
    assert found.loc["two groups", "follow"] == "4 of 5"
    assert found.loc["two groups, reads start ordinary", "follow"] == "0 of 3"
    assert found.loc["two groups, no restated rows", "follow"] == "2 of 3"
    assert found.loc["two groups, window 64", "exact"] < found.loc["two groups", "exact"]
