"""Whatever takes an inner gradient works inside torch.inference_mode, and gives what it gives inside torch.no_grad."""

import pytest
import torch
from torch import Generator

from lablib.data.batch import every_next
from lablib.nn.model import LanguageModel
from lablib.ttt.checkpointing import recomputed
from lablib.ttt.decode import begin, feed, sample
from lablib.ttt.e2e import Carry, InnerConfig, TTTModel, meta_loss
from lablib.ttt.train_and_evaluate import SANDWICH, RunConfig, read, spent

SMALL = SANDWICH.replace(vocab=7, width=8, hidden=8, prime=8, window=6, chunk=4)
PLANS = ["swa swa+prime", "swa+prime full", "swa+prime swa+kvb", "swa+prime delta", "swa+prime mamba2"]
MODES = [torch.no_grad, torch.inference_mode]


def build(plan: str, **inner) -> TTTModel:
    model = LanguageModel(SMALL.replace(plan=plan), Generator().manual_seed(0))
    return TTTModel(model, InnerConfig(**{"chunk": 4, **inner}))


def text():
    """Made where it is called: in inference mode, of tensors that can have no gradient."""
    return every_next(torch.randint(7, (2, 19), generator=Generator().manual_seed(4)))


def in_pieces(model) -> torch.Tensor:
    progress, parts = begin(model, 2), []
    for piece in text().tokens.split([5, 1, 8, 4], dim=1):
        logits, progress = feed(model, progress, piece)
        parts.append(logits)
    return torch.cat(parts, 1)


def by_chunks(model) -> torch.Tensor:
    tokens, targets, *_ = text()
    hidden, _ = model.read_lower(tokens)
    carry, parts = Carry(model.fast_weights(2), None), []
    for at in range(0, 18, 4):
        part, carry = model.read_chunk(carry, hidden[:, at : at + 4], targets[:, at : at + 4], learn=True)
        parts.append(part.losses)
    return torch.cat(parts, 1)


CALLS = {
    "forward": lambda model: model(text().tokens),
    "read": lambda model: model.read(text().tokens, text().targets).losses,
    "the outer loss": lambda model: meta_loss(model, text())[0],
    "the experiments' reading": lambda model: read(model, text()).losses,
    "decoding": in_pieces,
    "sampling": lambda model: sample(model, text().tokens, 9, Generator().manual_seed(1)),
    "chunk by chunk": by_chunks,
    "without the inner loop": lambda model: model.base(text().tokens),
}


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_inference_mode_gives_what_no_grad_gives(call, plan):
    model = build(plan)
    with torch.no_grad():
        expected = call(model)
    with torch.inference_mode():
        assert torch.equal(call(model), expected)
        assert torch.is_inference_mode_enabled()
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("plan", ["kvb", "swa+kvb-simple kvb", "full kvb"])
def test_key_value_binding_learns_in_inference_mode_and_its_state_goes_from_mode_to_mode(plan):
    model, tokens = LanguageModel(SMALL.replace(plan=plan), Generator().manual_seed(0)), text().tokens
    with torch.no_grad():
        expected = model(tokens)
    for modes in ((torch.inference_mode,) * 3, (torch.inference_mode, torch.no_grad, torch.inference_mode)):
        state, parts = None, []
        for mode, piece in zip(modes, tokens.split(6, dim=1), strict=True):
            with mode():
                logits, state = model.read(piece, state)
            parts.append(logits.clone())
        torch.testing.assert_close(torch.cat(parts, 1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("group", [0, 1, 2])
@pytest.mark.parametrize("mode", MODES)
def test_a_model_may_be_built_in_any_mode_and_trained_outside(mode, group):
    base = LanguageModel(SMALL.replace(plan="swa swa+prime"), Generator().manual_seed(0))
    with mode():
        model = TTTModel(base, InnerConfig(chunk=4, group=group))
    meta_loss(model, text())[0].backward()
    expected = build("swa swa+prime", group=group)
    meta_loss(expected, text())[0].backward()
    for a, b in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_a_model_whose_weights_were_made_in_inference_mode_is_refused():
    with torch.inference_mode(), pytest.raises(ValueError, match=r"was made in torch.inference_mode and can have no"):
        build("swa swa+prime")


@pytest.mark.parametrize("mode", MODES)
def test_recomputed_functions_may_take_gradients_inside_of_any_mode(mode):
    def slope(x):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad((x**3).sum(), x)[0].detach()

    with mode():
        assert recomputed(slope, torch.tensor([1.0, 2.0])).tolist() == [3.0, 12.0]


@pytest.mark.parametrize("mode", MODES)
def test_what_a_training_costs_is_counted_in_any_mode(mode):
    cfg = RunConfig.at("smoke")
    expected = spent(cfg)
    with mode():
        assert spent(cfg) == expected
