"""A text read in pieces is the text read whole, for every mixer; what the second derivative needs; bad plans."""

import pytest
import torch
from torch import Generator

from lablib.nn.decoder import Decoder, DecoderConfig

PLANS = ("swa", "full", "mamba2", "delta", "kvb", "kvb-simple", "mlp", "swa+delta", "swa full swa+prime")
TOKENS = torch.randint(16, (2, 41), generator=Generator().manual_seed(3))


def build(plan: str, **fields) -> Decoder:
    cfg = DecoderConfig(plan=plan, window=8, chunk=8, **fields)
    return Decoder(cfg, Generator().manual_seed(1)).double()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("cuts", [(1, 2, 3), (16,), (20, 37), tuple(range(1, 41))])
def test_a_text_read_in_pieces_is_the_text_read_whole(plan, cuts):
    model = build(plan)
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            whole, states, parts = model(TOKENS), None, []
            for start, stop in zip((0, *cuts), (*cuts, 41), strict=True):
                logits, states = model.read(TOKENS[:, start:stop], states)
                parts.append(logits)
        torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("plan", PLANS)
def test_no_prediction_depends_on_what_comes_later(plan):
    model, changed = build(plan), TOKENS.clone()
    changed[:, 20:] = (changed[:, 20:] + 1) % 16
    assert torch.equal(model(TOKENS)[:, :20], model(changed)[:, :20])
    assert not torch.equal(model(TOKENS)[:, 20:], model(changed)[:, 20:])


@pytest.mark.parametrize("plan", PLANS)
def test_each_sequence_of_a_batch_is_read_as_if_it_were_alone(plan):
    model = build(plan)
    alone = torch.cat([model(TOKENS[:1]), model(TOKENS[1:])])
    torch.testing.assert_close(model(TOKENS), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("plan", PLANS)
def test_every_parameter_is_used(plan):
    model = build(plan)
    model(TOKENS).square().sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert idle == []


def test_two_continuations_of_one_cache_do_not_disturb_each_other():
    model = build("full")
    with torch.no_grad():
        _, states = model.read(TOKENS[:, :20])
        first, after = model.read(TOKENS[:, 20:21], states)
        other, _ = model.read((TOKENS[:, 20:21] + 1) % 16, states)
        again, _ = model.read(TOKENS[:, 20:21], states)
        further, _ = model.read(TOKENS[:, 21:22], after)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.testing.assert_close(further, model(TOKENS[:, :22])[:, -1:], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("plan", ["swa", "full"])
def test_the_twice_differentiable_path_has_the_same_values_and_a_second_derivative(plan):
    model = build(plan)
    block, x = model.blocks[0], torch.randn(1, 11, 32, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(block(x, twice=True)[0], block(x)[0], rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(block(x, twice=True)[0].square().sum(), x, create_graph=True)
    torch.autograd.grad(gradient.square().sum(), x)
    (gradient,) = torch.autograd.grad(block(x)[0].square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derivative"):
        torch.autograd.grad(gradient.square().sum(), x)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"plan": "swa mamba3"}, "mamba3"),
        ({"plan": " "}, "at least one block"),
        ({"window": 0}, "at least 1"),
        ({"width": 30, "num_heads": 4}, "multiple of num_heads"),
    ],
)
def test_a_bad_model_is_refused_with_the_reason(fields, said):
    with pytest.raises(ValueError, match=said):
        DecoderConfig(**fields)
