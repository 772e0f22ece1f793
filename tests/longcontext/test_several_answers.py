"""Of several answers in a question every one counts, whoever counts them."""

import math

import numpy as np
import pytest
import torch
from test_seesaw import DATA, DEEP, by_hand, make_model
from torch import Generator

from lablib.data.questions import draw_questions
from lablib.longcontext.long_range import answer_all, by_depth
from lablib.longcontext.seesaw import answer_questions, watch_retrieval
from lablib.nn.model import LanguageModel
from lablib.nn.streaming import encode

TASK = {"num_needles": 3, "asked": 2}


class Reader(LanguageModel):
    """Looks up every key that is asked for; to the questions `wrong` it gives the value beside the right one."""

    wrong: tuple[int, ...] = ()

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, self.cfg.vocab)
        row = tokens[0].tolist()
        values = {row[at + 1]: row[at + 2] for at, token in enumerate(row) if token == DATA.mark}
        for number, at in enumerate(at for at, token in enumerate(row) if token == DATA.ask):
            value = values[row[at + 1]] - DATA.first_value
            logits[0, at + 1, DATA.first_value + (value + (number in self.wrong)) % DATA.num_values] = 1.0
        return logits


@pytest.mark.parametrize("asked", [1, 2, 3])
@pytest.mark.parametrize("wrong", [(), (0,), (1,), (2,), (0, 1)], ids=str)
def test_a_question_is_a_hit_only_if_all_of_its_answers_are_right(asked, wrong):
    model = make_model(Reader, plan="full")
    model.wrong = wrong
    given = DATA, 120, 12, Generator().manual_seed(4)
    found = answer_questions(model, *given, num_needles=3, asked=asked)
    assert found["hit"] == [float(not set(wrong) & set(range(asked)))] * 12
    questions = draw_questions(DATA, 120, 12, Generator().manual_seed(4), num_needles=3, asked=asked)
    others = DATA.first_value + (questions.answers - DATA.first_value + 1) % DATA.num_values
    lured = [
        any(bool((others[i, n] == questions.plants[i, :, 2]).any()) for n in wrong if n < asked) for i in range(12)
    ]
    assert found["lured"] == [float(value) for value in lured]
    distance = (120 - questions.tails.shape[1] + questions.answer_at - questions.evidence).max(dim=1).values
    assert found["distance"] == distance.tolist()


@pytest.mark.parametrize("plan", ["swa swa", "swa memory swa+hsa", DEEP])
@pytest.mark.parametrize("length", [64, 133])
def test_measures_are_the_worst_of_the_answers_in_the_plain_forward_pass(plan, length):
    model = make_model(plan=plan, top_k=3)
    results = answer_questions(model, DATA, length, 10, Generator().manual_seed(4), **TASK)
    questions = draw_questions(DATA, length, 10, Generator().manual_seed(4), **TASK)
    begin = length - questions.tails.shape[1]
    for i in range(10):
        with torch.no_grad(), watch_retrieval(model) as seen:
            logits = model(questions.planted(i))[0]
        places = [begin + int(at) for at in questions.answer_at]
        hits = [bool(logits[at].argmax() == value) for at, value in zip(places, questions.answers[i], strict=True)]
        assert results["hit"][i] == float(all(hits))
        if "hsa" not in plan:
            continue
        both = [by_hand(seen[-1], int(questions.evidence[i, n]), at, model, at - length) for n, at in enumerate(places)]
        for name in ("chunk_recall", "visible", "margin"):
            expected = float(np.min([part[name] for part in both]))
            assert results[name][i] == pytest.approx(expected, abs=1e-4, nan_ok=True)
        expected = sum(part["near_share"] for part in both) / 2
        assert results["near_share"][i] == pytest.approx(expected, abs=1e-4, nan_ok=True)


def test_both_counters_count_the_same_questions():
    """One reads question by question, the other all at once."""
    model, length = make_model(plan=DEEP, top_k=3), 133
    one = answer_questions(model, DATA, length, 10, Generator().manual_seed(4), **TASK)
    questions = draw_questions(DATA, length, 10, Generator().manual_seed(4), **TASK)
    answers = answer_all(model, encode(model, questions.haystack), questions)
    assert one["hit"] == answers.hit.all(dim=1).float().tolist()
    assert one["chunk_recall"] == answers.found.all(dim=1).float().tolist()
    assert one["visible"] == answers.visible.all(dim=1).float().tolist()
    (row,) = by_depth(answers, 1)
    assert row["exact"] == pytest.approx(sum(one["hit"]) / 10)
    missed = (answers.visible & ~answers.found).sum() / answers.visible.sum()
    assert row["chunk_recall"] == pytest.approx(1 - float(missed))


def test_a_haystack_that_is_there_decides_how_far_a_value_lies():
    model = make_model(plan="swa memory hsa")
    haystack = draw_questions(DATA, 200, 1, Generator().manual_seed(0)).haystack
    found = answer_questions(model, DATA, 64, 6, Generator().manual_seed(1), haystack=haystack)
    questions = draw_questions(DATA, 64, 6, Generator().manual_seed(1), haystack=haystack)
    assert found["distance"] == (haystack.shape[1] + 1 - questions.evidence[:, 0]).tolist()
    assert not any(math.isnan(share) for share in found["near_share"])
