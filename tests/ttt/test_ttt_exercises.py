"""Each check passes its solution, knows an untouched stub, and catches the usual mistakes with a hint that fits."""

import re

import pytest
import torch

from lablib.core.exercise import Mistake
from lablib.ttt import exercises

scores, bind = exercises.scores, exercises.bind


def leaking(weight, chunks, loss, learn):
    found = []
    for chunk in chunks:
        weight = learn(weight, chunk)
        found.append(loss(weight, chunk))
    return found


MISTAKES = {
    "check_inner_step": {
        "up the loss": lambda w, g, r, c: w + r * g * min(1.0, c / max(float(g.norm()), 1e-9)),
        "allows less": lambda w, g, r, c: w - r * g,
        "each entry": lambda w, g, r, c: w - r * g.clamp(-c, c),
        "leave it as it is": lambda w, g, r, c: w - r * g * c / max(float(g.norm()), 1e-9),
        "divides by 0": lambda w, g, r, c: w - r * g / g.norm() * min(float(g.norm()), c),
        "expected that of the weights": lambda w, g, r, c: w.sum(),
        "do it by hand": lambda w, g, r, c: w,
    },
    "check_scores": {
        "Too good": leaking,
        "Nothing is learnt": lambda w, chunks, loss, learn: [loss(w, chunk) for chunk in chunks],
        "expected the list of the chunks' losses": lambda w, chunks, loss, learn: -1,
        "3 losses for 4 chunks": lambda w, chunks, loss, learn: scores(w, chunks, loss, learn)[1:],
        "the first loss is": lambda w, chunks, loss, learn: [0.0] * 4,
    },
    "check_binding": {
        "Transposed": lambda s, k, v, r: bind(s, k, v, r).mT,
        "linear attention": lambda s, k, v, r: s + r * torch.outer(v, k),
        "Twice too far": lambda s, k, v, r: s - 2 * r * torch.outer(s @ k - v, k),
        "misses the value by more": lambda s, k, v, r: s + r * torch.outer(s @ k - v, k),
        "expected that of the state": lambda s, k, v, r: v,
        "for one entry": lambda s, k, v, r: s,
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
