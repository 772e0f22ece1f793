"""Each check passes its reference, knows an untouched stub, and catches the usual mistakes with a hint that fits."""

import re

import pytest
import torch

from lablib.core.exercise import Mistake
from lablib.ttt import exercises


def step(weights, gradient, rate, clip):
    return weights - rate * gradient * min(1.0, clip / max(float(gradient.norm()), 1e-9))


def scores(weight, chunks, loss, learn):
    found = []
    for chunk in chunks:
        found.append(loss(weight, chunk))
        weight = learn(weight, chunk)
    return found


def leaking(weight, chunks, loss, learn):
    found = []
    for chunk in chunks:
        weight = learn(weight, chunk)
        found.append(loss(weight, chunk))
    return found


def bind(state, key, value, rate):
    return state - rate * torch.outer(state @ key - value, key)


REFERENCES = {"check_inner_step": step, "check_scores": scores, "check_binding": bind}
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


@pytest.mark.parametrize("name", REFERENCES)
def test_the_reference_passes(name):
    getattr(exercises, name).strict(REFERENCES[name])


@pytest.mark.parametrize("name", REFERENCES)
def test_an_untouched_stub_is_not_attempted(name, capsys):
    getattr(exercises, name)(lambda *given: ...)
    assert "not attempted" in capsys.readouterr().out


@pytest.mark.parametrize(("name", "hint"), [(name, hint) for name, wrong in MISTAKES.items() for hint in wrong])
def test_a_mistake_gets_the_hint_that_fits(name, hint):
    with pytest.raises(Mistake, match=re.escape(hint)):
        getattr(exercises, name).strict(MISTAKES[name][hint])


def test_every_exercise_of_the_module_is_tested():
    defined = {name for name in vars(exercises) if name.startswith("check_")}
    assert defined == set(REFERENCES) == set(MISTAKES)
