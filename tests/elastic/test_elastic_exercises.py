"""The exercises of notebook 04: solutions pass, stubs are not attempted, each planted mistake meets its hint."""

import pytest
import torch

from lablib.core.exercise import Mistake
from lablib.elastic.exercises import (
    STUCK,
    check_legal_order,
    check_masked_norm,
    check_unstuck,
    legal_order,
    masked_norm,
    unstuck,
)

ALL = [(check_masked_norm, masked_norm), (check_legal_order, legal_order), (check_unstuck, unstuck)]


@pytest.mark.parametrize(("check", "solution"), ALL, ids=lambda one: getattr(one, "__name__", None))
def test_the_solution_passes_and_a_stub_is_not_attempted(check, solution, capsys):
    check.strict(solution)
    check(lambda *given: ...)
    assert "not attempted" in capsys.readouterr().out
    with pytest.raises(Mistake):
        check.strict(lambda *given: torch.zeros(1))


NORMS = {
    "still divides by all 8": lambda x, mask: x * mask / (x * mask).square().mean(-1, keepdim=True).sqrt(),
    "counts channels that are not kept": lambda x, mask: x * mask / x.square().mean(-1, keepdim=True).sqrt(),
    "not kept are not 0": lambda x, mask: x / ((x * mask).square().sum(-1, keepdim=True) / mask.sum()).sqrt(),
    "taken over rows": lambda x, mask: x * mask / ((x * mask).square().sum() / (len(x) * mask.sum())).sqrt(),
    "You return shape": lambda x, mask: x[:, :5] / x[:, :5].square().mean(-1, keepdim=True).sqrt(),
}
ORDERS = {
    "order of all heads": lambda scores, groups: scores.argsort(descending=True),
    "least important": lambda scores, groups: legal_order(-scores, groups),
    "the numbers of the first": lambda scores, groups: (
        scores.unflatten(0, (groups, -1)).argsort(1, descending=True).flatten()
    ),
    "each head once": lambda scores, groups: torch.zeros(len(scores), dtype=torch.long),
}
ROUTERS = {
    "still too small|weighs too little": lambda stuck: stuck.replace(cost_weight=0.2),
    "nothing pulls them": lambda stuck: stuck.replace(temperature=(1.0, 1.0)),
    "softer or harder": lambda stuck: stuck.replace(scale=(1.0, 1.0)),
    "Nothing is changed": lambda stuck: stuck,
    "one number is enough": lambda stuck: stuck.replace(cost_weight=10.0, scale=(1.0, 2.0)),
    "says what is asked for": lambda stuck: stuck.replace(targets=(0.7,)),
}
MISTAKES = [(check, *pair) for check, many in zip((c for c, _ in ALL), (NORMS, ORDERS, ROUTERS), strict=True)
            for pair in many.items()]  # fmt: skip


@pytest.mark.parametrize(("check", "hint", "answer"), MISTAKES, ids=lambda one: one if isinstance(one, str) else "")
def test_a_mistake_meets_its_hint(check, hint, answer):
    with pytest.raises(Mistake, match=hint):
        check.strict(answer)


def test_the_router_of_the_exercise_is_stuck_and_its_solution_is_not():
    from lablib.elastic.family import PARENT
    from lablib.elastic.router import settled

    assert settled(STUCK, PARENT)[0] > 0.9
    assert settled(unstuck(STUCK), PARENT)[0] == pytest.approx(0.5, abs=0.04)
