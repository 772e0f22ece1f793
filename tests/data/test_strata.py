"""Questions stratified by depth: one part of the depth each, slots of their own, and on a haystack already there."""

import pytest
import torch
from torch import Generator

from lablib.data.questions import draw_questions, stratum_of
from lablib.data.retrieval import SLOT, RetrievalConfig, training_batch

CFG = RetrievalConfig(num_noise=256)


def test_questions_are_spread_evenly_from_the_beginning_to_the_end():
    assert stratum_of(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(stratum_of(200, 10).bincount(), torch.full((10,), 20))


@pytest.mark.parametrize("needles", [1, 2, 6])
@pytest.mark.parametrize("length", [64, 1000, 100_000])
def test_each_question_has_its_needle_in_its_part_of_the_depth(needles, length, generator):
    asked = draw_questions(CFG, length, 200, generator, num_needles=needles, strata=10)
    slots = int(length - asked.tails.shape[1] - CFG.offsets + 1) // SLOT
    part = (asked.starts[:, 0] // SLOT) * 10 / slots
    assert ((part - stratum_of(200, 10)).abs() <= 1 + 10 / slots).all()
    if length == 100_000:
        assert (part.floor() == stratum_of(200, 10)).all()
        assert part[:20].std() > 0.2, "spread over its part"


def test_needles_of_a_question_never_overlap_and_the_others_stand_anywhere(generator):
    asked = draw_questions(CFG, 68, 3000, generator, num_needles=6, strata=10)
    starts = asked.starts.sort(dim=1).values
    assert (starts.diff(dim=1) >= SLOT).all()
    assert int(starts.min()) >= 0
    assert int(starts.max()) + SLOT <= asked.haystack.shape[1]
    others = (asked.starts[:300, 1:] // SLOT).flatten().bincount(minlength=15).float()  # those of the first part
    assert (others[2:] / others[2:].mean() - 1).abs().max() < 0.35, "uniform over what is left"


def test_the_slots_of_each_question_have_an_offset_of_their_own(generator):
    starts = draw_questions(CFG, 4096, 400, generator, strata=10).starts
    shares = (starts[:, 0] % SLOT).bincount(minlength=4) / 400
    assert (shares - 0.25).abs().max() < 0.1


def test_every_question_is_planted_where_it_says(generator):
    asked = draw_questions(CFG, 300, 40, generator, num_needles=3, asked=2, strata=10)
    for i in range(40):
        whole = asked.planted(i)[0]
        assert torch.equal(whole[asked.evidence[i]], asked.answers[i])
        assert torch.equal(whole[asked.evidence[i] - 1], asked.tails[i, asked.answer_at])


def test_a_haystack_that_is_there_takes_questions_of_another_task(generator):
    six = draw_questions(CFG, 500, 20, generator, num_needles=6, asked=2, strata=10)
    one = draw_questions(CFG, 64, 200, generator, strata=10, haystack=six.haystack)  # whose length decides
    assert one.haystack is six.haystack
    assert 470 < int(one.starts.max()) + SLOT <= six.haystack.shape[1]
    with pytest.raises(ValueError, match="3 distractors would change a haystack that is already there"):
        draw_questions(CFG, 500, 20, generator, distractors=3, haystack=six.haystack)


@pytest.mark.parametrize("strata", [0, 16])
def test_more_strata_than_slots_are_refused(strata, generator):
    with pytest.raises(ValueError, match=rf"tokens \({strata} strata\)"):
        draw_questions(CFG, 64, 20, generator, strata=strata)


def test_rows_may_have_all_their_slots_at_one_offset():
    rows = training_batch(CFG, 64, Generator().manual_seed(0), offset=2).tokens
    marks = (rows == CFG.mark).nonzero()[:, 1]
    assert len(marks) == 64
    assert (marks % SLOT == 2).all()
    with pytest.raises(ValueError, match="offset is 4; expected one of 0 to 3"):
        training_batch(CFG, 4, Generator(), offset=4)
