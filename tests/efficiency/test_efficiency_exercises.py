"""The exercises of notebook 05: solutions pass, stubs are not attempted, each planted mistake meets its hint."""

import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from lablib.core.exercise import Mistake
from lablib.efficiency.exercises import (
    check_choice,
    check_distillation_loss,
    check_first_values,
    choose,
    distillation_loss,
    first_values,
    regret,
)

SWEEP = pd.DataFrame([
    {"phase": "read", "language.shift": shift, "name": name, "train.optim.lr": rate, "seed": seed, "excess": excess}
    for shift, losses in {
        "unigram": {("full", 1e-3): 0.3, ("full", 1e-2): 0.9, ("BitFit", 3e-2): 0.2, ("BitFit", 1e-3): 0.8},
        "transitions": {("full", 1e-3): 0.5, ("full", 1e-2): 1.4, ("BitFit", 3e-2): 0.9, ("BitFit", 1e-3): 1.1},
    }.items()
    for (name, rate), excess in losses.items()
    for seed in range(3)
])  # fmt: skip
CHOICE = check_choice(SWEEP)
ALL = [(check_distillation_loss, distillation_loss), (check_first_values, first_values), (CHOICE, choose)]


@pytest.mark.parametrize(("check", "solution"), ALL, ids=["loss", "values", "choice"])
def test_the_solution_passes_and_a_stub_is_not_attempted(check, solution, capsys):
    check.strict(solution)
    check(lambda *given: ...)
    assert "not attempted" in capsys.readouterr().out
    check(lambda *given: -1)
    assert "not yet. " in (said := capsys.readouterr().out)
    assert "The code raised" not in said


def kl(p, q, t, power, reduction):
    p, q = (p / t).log_softmax(-1), (q / t).log_softmax(-1)
    return t**power * F.kl_div(q, p, log_target=True, reduction=reduction)


LOSSES = {
    "learns to drop": lambda p, q, t: kl(q, p, t, 2, "batchmean"),
    "T squared is not": lambda p, q, t: kl(p, q, t, 0, "batchmean"),
    "T is there once": lambda p, q, t: kl(p, q, t, 1, "batchmean"),
    "twice the batch": lambda p, q, t: kl(p, q, t, 2, "sum"),
    "a seventh": lambda p, q, t: kl(p, q, t, 2, "sum") / 35,
    "you give 0.0": lambda p, q, t: torch.zeros(()),
}


@pytest.mark.parametrize(("hint", "answer"), LOSSES.items(), ids=LOSSES)
def test_a_wrong_loss_meets_its_hint(hint, answer):
    with pytest.raises(Mistake, match=hint):
        check_distillation_loss.strict(answer)


VALUES = {
    "both gradients are 0": lambda r, n, m, g: (torch.zeros(r, n), torch.zeros(m, r)),
    "B A is not 0": lambda r, n, m, g: (torch.ones(r, n), torch.ones(m, r)),
    "in this order": lambda r, n, m, g: (torch.zeros(m, r), torch.ones(r, n)),
}


@pytest.mark.parametrize(("hint", "answer"), VALUES.items(), ids=VALUES)
def test_wrong_first_values_meet_their_hint(hint, answer):
    with pytest.raises(Mistake, match=hint):
        check_first_values.strict(answer)


def test_a_choice_is_told_its_regret(capsys):
    assert regret(SWEEP, "transitions", "BitFit", 2.5e-2) == pytest.approx(0.4)
    with pytest.raises(Mistake, match=r"more than 0\.1"):
        CHOICE.strict(lambda shift: ("BitFit", 3e-2))
    assert "unigram: BitFit at 0.03 is 0.00 nats above the best choice" in capsys.readouterr().out
    with pytest.raises(Mistake, match="methods: BitFit, full"):
        CHOICE.strict(lambda shift: ("prompts", 1e-3))
