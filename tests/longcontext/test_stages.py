"""A curriculum decides everything by the step alone, hits its boundaries, and refuses what cannot be meant."""

import pytest

from lablib.longcontext.stages import Curriculum, Mix, Stage
from lablib.train.schedule import ScheduleConfig, factor

NARROW = Stage(start=0, stop=40, window=8, top_k=None)
WIDE = Stage(start=40, stop=100, window=64, top_k=4)


def both(**second) -> Curriculum:
    return Curriculum(stages=(NARROW, WIDE.replace(**second)))


def test_a_stage_begins_at_its_first_step_and_not_one_off():
    cur = both()
    assert [cur.window_at(step) for step in (0, 39, 40, 99)] == [8, 8, 64, 64]
    assert [cur.top_k_at(step, chunk=8) for step in (0, 39, 40, 99)] == [8, 8, 4, 4]
    assert [cur.number_at(step) for step in (39, 40)] == [0, 1]
    assert cur.steps == 100


def test_dense_covers_the_longest_row_also_a_ragged_one():
    stage = Stage(start=0, stop=1, lengths=(64, 100), top_k=None)
    assert Curriculum(stages=(stage,)).top_k_at(0, chunk=8) == 13


@pytest.mark.parametrize("transition", ["linear", "cosine"])
def test_a_slope_leads_from_one_stage_to_the_next_without_a_step_back(transition):
    cur = both(transition=transition, transition_steps=20)
    windows = [cur.window_at(step) for step in range(38, 63)]
    assert windows[:2] == [8, 8]
    assert 8 <= windows[2] < 16, "the slope begins with the stage"
    assert windows == sorted(windows)
    assert len(set(windows)) > 10
    assert [cur.window_at(step) for step in (59, 60)] in ([63, 64], [61, 64], [64, 64])
    chunks = [cur.top_k_at(step, chunk=8) for step in range(38, 63)]
    assert chunks == sorted(chunks, reverse=True)
    assert chunks[0] == 8
    assert chunks[-1] == 4


def test_halfway_over_a_joint_both_slopes_are_halfway():
    for transition in ("linear", "cosine"):
        assert both(transition=transition, transition_steps=19).window_at(49) == 36


def test_the_rate_goes_through_is_warmed_up_again_or_starts_anew():
    schedule = ScheduleConfig(warmup=5)
    through, again, anew = (
        Curriculum(stages=(NARROW, WIDE.replace(rate=rate)), schedule=schedule)
        for rate in ("through", "warm up again", "start anew")
    )
    for step in range(100):
        assert through.rate_at(step) == factor(schedule, step, 100)
        local = factor(schedule, step, 40) if step < 40 else factor(schedule, step - 40, 60)
        assert anew.rate_at(step) == local
    assert again.rate_at(39) == through.rate_at(39)
    assert again.rate_at(40) == pytest.approx(through.rate_at(40) / 6)
    assert again.rate_at(45) == through.rate_at(45)


REFUSED = [
    ({"start": 45}, r"stages\[1\].start is 45.*a gap of 5 steps; set start=40"),
    ({"start": 30}, r"stages\[1\].start is 30.*an overlap of 10 steps; set start=40"),
    ({"lengths": (32,)}, r"stages\[1\].lengths is \(32,\), after \(64,\): stages do not shrink; set shrinks=True"),
    ({"window": 4}, r"stages\[1\].window is 4, after 8: stages do not shrink"),
    ({"lengths": (4096,)}, "rows of 4096 tokens; set tokens"),
]


@pytest.mark.parametrize(("change", "words"), REFUSED, ids=[str(change) for change, _ in REFUSED])
def test_stages_that_do_not_join_are_refused_with_the_way_out(change, words):
    with pytest.raises(ValueError, match=words):
        both(**change)


def test_a_stage_may_shrink_where_it_says_so():
    assert both(window=4, shrinks=True).window_at(50) == 4


WRONG_STAGES = [
    ({"stop": 0}, "has no step; set stop above start"),
    ({"window": 0}, "window is 0"),
    ({"top_k": 0}, "top_k 0: expected at least 1"),
    ({"lengths": ()}, "lengths is"),
    ({"lengths": (64, 0)}, "lengths is"),
    ({"length_weights": (1.0, 1.0)}, "length_weights"),
    ({"lengths": (64, 128), "length_weights": (0.0, 0.0)}, "not all of them zero"),
    ({"lengths": (64, 128), "length_weights": (2.0, -1.0)}, "one weight >= 0"),
    ({"transition": "linear"}, "transition 'linear' with 0 steps"),
    ({"transition_steps": 3}, "transition 'step' with 3 steps"),
    ({"transition": "linear", "transition_steps": 99}, "transition_steps is 99"),
]


@pytest.mark.parametrize(("change", "words"), WRONG_STAGES, ids=[str(change) for change, _ in WRONG_STAGES])
def test_a_stage_that_cannot_be_is_refused_by_field(change, words):
    with pytest.raises(ValueError, match=words):
        Stage(**{"start": 0, "stop": 10, **change})


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf"), 0.0])
def test_a_mix_that_sums_to_nothing_is_refused(weight):
    with pytest.raises(ValueError, match=r"do not sum to zero; got .*retrieval"):
        Mix(retrieval=weight)


def test_a_curriculum_begins_at_step_0_and_has_a_stage():
    with pytest.raises(ValueError, match="starts at step 0"):
        Curriculum(stages=(WIDE,))
    with pytest.raises(ValueError, match="at least one stage"):
        Curriculum(stages=())


def test_two_curricula_have_two_digests_by_any_field_of_any_stage():
    digests = {
        both(**change).digest() for change in ({}, {"window": 32}, {"mix": Mix(plain=1.0)}, {"transition": "step"})
    }
    assert len(digests) == 3, "the last change is none"
