"""Each check passes its solution, knows an untouched stub, and catches the usual mistakes with a hint that fits."""

import re

import pytest
import torch

from lablib.core.exercise import Mistake
from lablib.ttt import exercises

scores, outer_loss, both_gradients = exercises.scores, exercises.outer_loss, exercises.both_gradients


def leaking(weight, chunks, loss, learn):
    found = []
    for chunk in chunks:
        weight = learn(weight, chunk)
        found.append(loss(weight, chunk))
    return found


def learnt_first(weight, chunks, loss, rate):
    total = 0
    for chunk in chunks:
        weight = weight - rate * torch.autograd.grad(loss(weight, chunk), weight, create_graph=True)[0]
        total = total + loss(weight, chunk)
    return total


def first_order(weight, chunks, loss, rate):
    total = 0
    for chunk in chunks:
        found = loss(weight, chunk)
        total = total + found
        weight = weight - rate * torch.autograd.grad(found, weight, retain_graph=True)[0]
    return total


MISTAKES = {
    "check_scores": {
        "Too good": leaking,
        "Nothing is learnt": lambda w, chunks, loss, learn: [loss(w, chunk) for chunk in chunks],
        "expected the list of the chunks' losses": lambda w, chunks, loss, learn: -1,
        "3 losses for 4 chunks": lambda w, chunks, loss, learn: scores(w, chunks, loss, learn)[1:],
        "the first loss is": lambda w, chunks, loss, learn: [0.0] * 4,
    },
    "check_outer_loss": {
        "has no gradient": lambda w, chunks, loss, rate: outer_loss(w, chunks, loss, rate).item(),
        "after it was learnt from": learnt_first,
        "Nothing is learnt between": lambda w, chunks, loss, rate: outer_loss(w, chunks, loss, 0.0),
        "its gradient is not": first_order,
        "expected": lambda w, chunks, loss, rate: outer_loss(w, chunks, loss, rate) / 3,
    },
    "check_both_gradients": {
        "two numbers": lambda start, rate, steps: 1.0,
        "other way round": lambda start, rate, steps: both_gradients(start, rate, steps)[::-1],
        "Right for one step": lambda start, rate, steps: both_gradients(start, rate, 1),
        "where the weight began": lambda start, rate, steps: (
            2 * (start - 3) * (1 - 2 * rate) ** steps,
            2 * (start - 3),
        ),
        "do it by hand": lambda start, rate, steps: (0.0, 0.0),
    },
}


CHECKS = [name for name in vars(exercises) if name.startswith("check_")]


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes(name):
    check = getattr(exercises, name)
    check.strict(check.solution)


@pytest.mark.parametrize("name", CHECKS)
def test_an_untouched_stub_is_not_attempted(name, capsys):
    getattr(exercises, name)(lambda *given: ...)
    assert "not attempted" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "hint"), [(name, hint) for name, wrong in MISTAKES.items() for hint in wrong])
def test_a_mistake_gets_the_hint_that_fits(name, hint):
    with pytest.raises(Mistake, match=re.escape(hint)):
        getattr(exercises, name).strict(MISTAKES[name][hint])


def test_the_mistakes_of_every_exercise_are_planted():
    assert set(CHECKS) == set(MISTAKES)
