"""A text read in pieces is the text read whole, for every plan; what the second derivative needs."""

import pytest
import torch
from torch import Generator

from lablib.nn.model import LanguageModel, state_bytes
from lablib.nn.plan import ModelConfig
from lablib.ops import backend

PLANS = (
    *("swa", "full", "full-nope", "mamba2", "delta", "kvb", "kvb-simple", "mlp", "swa+delta", "swa full swa+prime"),
    *("memory hsa", "swa memory swa+hsa", "full memory hsa swa+hsa", "mamba2+no-mlp mlp 2*swa+relu2:20"),
    "mamba2 memory delta+hsa kvb",
)
TOKENS = torch.randint(16, (2, 41), generator=Generator().manual_seed(3))


def build(plan: str, **fields) -> LanguageModel:
    cfg = ModelConfig(**{"plan": plan, "vocab": 16, "window": 8, "norm": "sandwich", "top_k": 2, **fields})
    return LanguageModel(cfg, Generator().manual_seed(1)).double()


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("cuts", [(1, 2, 3), (16,), (20, 37), tuple(range(1, 41))])
def test_a_text_read_in_pieces_is_the_text_read_whole(plan, cuts):
    model = build(plan)
    for context in (torch.no_grad, torch.enable_grad):
        with context():
            whole, state, parts = model(TOKENS), None, []
            for start, stop in zip((0, *cuts), (*cuts, 41), strict=True):
                logits, state = model.read(TOKENS[:, start:stop], state)
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
    x = torch.randn(1, 11, 32, dtype=torch.float64, requires_grad=True)

    def read() -> torch.Tensor:
        return model.blocks[0](x, None, model.context())[0]

    with backend.using("plain"):
        plain = read()
    torch.testing.assert_close(plain, read(), rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(plain.square().sum(), x, create_graph=True)
    torch.autograd.grad(gradient.square().sum(), x)
    (gradient,) = torch.autograd.grad(read().square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="derivative"):
        torch.autograd.grad(gradient.square().sum(), x)


@pytest.mark.parametrize(("norm", "bypass"), [("pre", True), ("pre", False), ("sandwich", False)])
def test_pieces_are_the_whole_with_either_norm_and_either_way_of_the_read(norm, bypass):
    model = build("swa memory swa+hsa swa+hsa", norm=norm, bypass=bypass, hsa_rope=True)
    first, state = model.read(TOKENS[:, :13])
    rest, after = model.read(TOKENS[:, 13:], state)
    torch.testing.assert_close(torch.cat([first, rest], 1), model(TOKENS), rtol=1e-9, atol=1e-9)
    assert (after.seen, after.memory.landmarks.shape[2], after.waiting.shape[1]) == (41, 5, 1)


def test_the_state_of_a_window_stays_small_and_that_of_full_attention_and_of_the_memory_grows():
    for plan, grows in (("swa", False), ("mamba2", False), ("full", True), ("memory hsa", True)):
        model = build(plan)
        with torch.no_grad():
            sizes = [state_bytes(model.read(TOKENS[:, :time])[1]) for time in (16, 40)]
        assert (sizes[1] > sizes[0]) == grows, plan


def test_a_window_set_between_two_pieces_counts_from_then_on():
    model = build("swa swa")
    with torch.no_grad():
        _, state = model.read(TOKENS[:, :20])
        model.set_reading(3, 2)
        narrow, _ = model.read(TOKENS[:, 20:], state)
        changed = TOKENS.clone()
        changed[:, 20] = (changed[:, 20] + 1) % 16
        other, _ = model.read(changed[:, 20:], state)
    assert model.reach == 4
    differ = (narrow != other).any(-1).any(0).nonzero()[:, 0].tolist()
    assert differ == list(range(5))
