"""A base that is tuned: distances are exact, and a training in which nothing learns is refused."""

import pytest
import torch
from test_distillation import Knows
from torch.utils.checkpoint import checkpoint

from lablib.efficiency.tuning import Learns, TuneConfig, excess_of, trained_base, tuned_base, tuning_rows
from lablib.nn.model import LanguageModel
from lablib.nn.tuning import TuningConfig, trainable, tuned
from lablib.train.loop import TrainConfig, fit
from lablib.train.losses import cross_entropy, next_token_loss
from lablib.train.optim import OptimConfig

SMALL = TuneConfig.at("smoke")
COUNTS = {"full": 0, "LoRA": 14, "DoRA": 14, "adapters": 4, "BitFit": 14, "head": 0}


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))


def test_distances_are_0_from_the_language_that_is_known():
    before, after = SMALL.languages()
    distances = excess_of(SMALL)
    assert distances.read(Knows(before))["excess_before"] == pytest.approx(0, abs=1e-6)
    assert distances.read(Knows(after))["excess"] == pytest.approx(0, abs=1e-6)
    assert distances.read(Knows(before))["excess"] > 0.1


@pytest.mark.parametrize("method", COUNTS)
def test_tuning_changes_what_is_trainable_alone(method):
    cfg = SMALL.replace(tuning=TuningConfig(method=method, count=COUNTS[method]))
    model, base, table = tuned_base(cfg)
    moved, own = trainable(model), base.state_dict()
    assert moved
    for name, value in model.state_dict().items():
        if name in own and name not in moved:
            assert torch.equal(value, own[name]), name
    assert {"loss", "excess", "excess_before"} <= set(table)
    assert all(torch.equal(a, b) for a, b in zip(base.parameters(), trained_base(cfg).parameters(), strict=True))


# ---- nothing learns


def train(model, rate=1e-2, objective=next_token_loss):
    cfg = TrainConfig(steps=3, batch=4, log_every=1, optim=OptimConfig(lr=rate, weight_decay=0.0))
    draw = lambda batch, rows: tuning_rows(SMALL)  # noqa: E731
    return fit(model, draw, cfg, torch.Generator(), hooks=[Learns()], objective=objective)


def small(method, generator):
    base = LanguageModel(SMALL.base.model, generator)
    return tuned(base, TuningConfig(method=method, count=COUNTS[method]), generator)


@pytest.mark.parametrize("method", COUNTS)
def test_a_training_that_learns_passes(method, generator):
    assert len(train(small(method, generator))) == 3


def test_a_rate_of_0_is_refused(generator):
    with pytest.raises(RuntimeError, match="did not move in the first step"):
        train(small("LoRA", generator), rate=0.0)


def test_nothing_trainable_is_refused(generator):
    with pytest.raises((RuntimeError, ValueError), match=r"nothing is trainable|empty parameter list"):
        train(small("LoRA", generator).requires_grad_(False))


def test_a_frozen_input_behind_a_checkpoint_is_refused(generator):
    model = small("LoRA", generator)

    def through_checkpoints(model, batch):
        x = model.embed(batch.tokens)  # frozen: it needs no gradient, and a re-entrant checkpoint then gives none
        for block in model.blocks:
            run = lambda y, block=block: block(y, None, model.context())[0]  # noqa: E731
            x = checkpoint(run, x, use_reentrant=True)
        logits = model.logits(x)
        logits = logits + 0 * sum(p.sum() for p in trainable(model).values())
        return cross_entropy(logits, batch.targets, batch.weight), logits

    with (
        pytest.warns(UserWarning, match="None of the inputs have requires_grad"),
        pytest.raises(RuntimeError, match=r"adapters.* did not move in the first step.*use_reentrant=True"),
    ):
        train(model, objective=through_checkpoints)


ODD = {
    "another vocabulary": ({"base__model__vocab": 30}, "base.model.vocab is 30, but the language has 24"),
    "less than a row": ({"tokens": 31}, "tokens is 31; expected at least one row"),
    "a rank of 0": ({"tuning__rank": 0}, "rank"),
}


@pytest.mark.parametrize(("fields", "words"), ODD.values(), ids=ODD)
def test_what_makes_no_sense_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        SMALL.replace(**fields)
