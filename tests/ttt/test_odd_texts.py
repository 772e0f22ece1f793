"""Texts of one token, targets that no vocabulary has, models that do not exist: the plain result or a refusal."""

import pytest
import torch
from torch import Generator

from lablib.nn.model import LanguageModel
from lablib.ttt.baselines import at_size, baseline
from lablib.ttt.decode import begin, feed, sample
from lablib.ttt.e2e import InnerConfig, TTTModel
from lablib.ttt.train_and_evaluate import SANDWICH, RunConfig, train_and_read

SMALL = SANDWICH.replace(plan="swa swa+prime", vocab=7, width=8, hidden=8, prime=8, window=6)
TOKENS = torch.arange(22).view(2, 11) % 7


def learner(**inner) -> TTTModel:
    return TTTModel(LanguageModel(SMALL, Generator().manual_seed(0)), InnerConfig(**{"chunk": 4, **inner}))


MODEL = learner()


@pytest.mark.parametrize("group", [0, 1])
@pytest.mark.parametrize("length", [1, 3, 4, 5])
def test_a_text_may_be_shorter_than_a_chunk_and_is_then_read_as_by_the_model_without_its_loop(length, group):
    model = learner(group=group)
    logits = model(TOKENS[:, :length])
    torch.testing.assert_close(logits[:, :4], model.base(TOKENS[:, :length])[:, :4])
    torch.testing.assert_close(feed(model, begin(model, 2), TOKENS[:, :length])[0], logits)


def test_no_token_is_sampled_where_none_is_asked_for():
    assert sample(MODEL, TOKENS, 0, Generator()).shape == (2, 0)


REFUSED = {
    "tokens out of the vocabulary": (lambda: MODEL(TOKENS + 1), "tokens hold ids from 1 to 7; expected 0 to 6"),
    "tokens fed out of the vocabulary": (
        lambda: feed(MODEL, begin(MODEL, 2), TOKENS - 1),
        "tokens hold ids from -1 to 5",
    ),
    "targets out of the vocabulary": (lambda: MODEL.read(TOKENS, TOKENS + 1), "targets hold ids from 1 to 7"),
    "targets that are ignored": (lambda: MODEL.read(TOKENS, TOKENS * 0 - 100), "targets hold ids from -100 to -100"),
    "targets of other tokens": (lambda: MODEL.read(TOKENS, TOKENS[:, 1:]), r"\(2, 10\) targets for \(2, 11\) tokens"),
    "a begin of fewer texts than none": (lambda: begin(MODEL, -1), "batch is -1; expected at least 0"),
    "other texts than begun": (lambda: feed(MODEL, begin(MODEL, 1), TOKENS), "2 texts were fed to the progress of 1"),
    "fewer samples than none": (lambda: sample(MODEL, TOKENS, -1, Generator()), "number is -1; expected at least 0"),
    "a baseline that does not exist": (
        lambda: baseline("full", "LSTM"),
        "there is no model 'LSTM'; expected",
    ),
    "a size for a model without MLPs": (
        lambda: at_size(SMALL.replace(plan="swa+no-mlp"), 10_000),
        "has no MLP of width",
    ),
}


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_read_is_refused(call, said, refused):
    with refused(ValueError, said):
        call()


def test_a_naive_reading_that_the_model_cannot_carry_is_refused_before_the_training(monkeypatch):
    import lablib.ttt.train_and_evaluate as module

    monkeypatch.setattr(module, "train", lambda *given: pytest.fail("trained first"))
    cfg = RunConfig.at("smoke", learns=False, naive_rates=(0.1,), inner=InnerConfig(chunk=32))
    with pytest.raises(ValueError, match="window=16 is shorter than chunk=32"):
        train_and_read(cfg)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("inner", [{}, {"order": "first"}, {"group": 2}], ids=str)
def test_an_inner_loop_in_sixteen_bits_is_that_of_float32(dtype, inner):
    model, eps = learner(**inner), torch.finfo(dtype).eps
    with torch.no_grad():
        wanted = model(TOKENS)
    model = model.to(dtype)
    reading = model.read(TOKENS, (TOKENS + 1) % 7)
    reading.losses.float().mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert len(gradients) > 10
    assert all(gradient.isfinite().all() for gradient in gradients)
    fed, _ = feed(model, begin(model, 2), TOKENS)
    for logits in (model(TOKENS).detach(), fed):
        assert logits.dtype == dtype
        assert float((logits.float() - wanted).norm() / wanted.norm()) < 10 * eps
