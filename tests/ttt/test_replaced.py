"""A model with an inner loop uses what stands in it now: nothing of a replaced or frozen module stays behind."""

import copy

import pytest
import torch
from test_refusals import Kernel
from torch import Generator, nn

from lablib.nn.model import LanguageModel
from lablib.nn.surgery import freeze, replace
from lablib.ttt.decode import begin, feed
from lablib.ttt.e2e import InnerConfig, TTTModel
from lablib.ttt.train_and_evaluate import SANDWICH

SMALL = SANDWICH.replace(plan="swa swa+prime swa", vocab=7, width=8, hidden=8, prime=8, window=6)
INNER = InnerConfig(chunk=4)
TEXT = torch.randint(7, (2, 19), generator=Generator().manual_seed(4))
TOKENS, TARGETS = TEXT[:, :-1], TEXT[:, 1:]
PLACES = ["head", "norm", "embedding", "blocks.0", "blocks.1", "blocks.2", "blocks.2.mlp", "blocks.1.mixers.0.part"]
PLACES += ["blocks.1.prime.part", "blocks.1.prime.part.up", "blocks.1.prime"]


def base(seed: int = 0, plan: str = SMALL.plan) -> LanguageModel:
    return LanguageModel(SMALL.replace(plan=plan), Generator().manual_seed(seed))


def learnt(model: TTTModel, tokens=TOKENS, targets=TARGETS) -> list[torch.Tensor]:
    """The logits with and without gradients, those of decoding, and the outer gradient."""
    model.zero_grad()
    reading = model.read(tokens, targets)
    reading.losses.mean().backward()
    with torch.no_grad():
        plain, (fed, _) = model(tokens), feed(model, begin(model, len(tokens)), tokens)
    return [reading.logits.detach(), plain, fed, *(p.grad for p in model.parameters() if p.grad is not None)]


def assert_same(one: list[torch.Tensor], other: list[torch.Tensor]) -> None:
    assert len(one) == len(other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("order", ["exact", "first"])
@pytest.mark.parametrize("pattern", PLACES)
def test_replacing_after_building_is_building_after_replacing(pattern, order):
    def put(model: nn.Module, prefix: str) -> None:
        other = base(9).get_submodule(pattern)
        for parameter in other.parameters():
            parameter.data *= 1.5
        replace(model, prefix + pattern, lambda old: copy.deepcopy(other), count=1)

    before = base()
    put(before, "")
    built = TTTModel(base(), INNER.replace(order=order))
    untouched = learnt(built)
    put(built, "base.")
    found = learnt(built)
    assert_same(found, learnt(TTTModel(before, INNER.replace(order=order))))
    assert not torch.equal(found[1], untouched[1])
    assert built.num_fast == 3 * 8 * 8


def test_a_fast_part_with_weights_of_other_names_is_learnt():
    class Two(nn.Module):
        def __init__(self, part):
            super().__init__()
            self.inside = part

        def forward(self, x):
            return self.inside(x)

    model, plain = (TTTModel(base(), INNER) for _ in range(2))
    replace(model, "base.blocks.1.prime.part", Two, count=1)
    assert_same(learnt(model), learnt(plain))
    assert all(".inside." in name for name in model.fast_names)


def test_what_has_no_second_derivative_is_refused_when_it_is_put_in_later_too():
    model = TTTModel(base(), INNER)
    replace(model, "base.blocks.2.mlp.part", lambda old: nn.Sequential(old, Kernel()), count=1)
    for _ in range(2):
        with pytest.raises(ValueError, match="no second derivative, or a wrong one"):
            model.read(TOKENS, TARGETS)
    replace(model, "base.blocks.1.prime", lambda old: nn.Identity(), count=1)
    with pytest.raises(ValueError, match="matches 0 modules, expected 1"):
        model.read(TOKENS, TARGETS)


def test_layers_that_share_a_fast_part_are_replaced_together():
    plan = "swa 2*swa+prime"
    before, built = base(plan=plan), TTTModel(base(plan=plan), INNER)
    for model, prefix in ((before, ""), (built, "base.")):
        replace(model, prefix + "blocks.1", lambda old: base(9, plan).blocks[1], count=1)
    assert_same(learnt(built), learnt(TTTModel(before, INNER)))


def test_a_fast_part_that_layers_share_learns_once_and_for_all_of_them():
    """One module in two layers, and one parameter in two modules, against two that have to be equal at rate 0."""
    plain = base(plan="swa swa+prime swa+prime")
    for maps in (plain.blocks[1].prime.part, plain.blocks[2].prime.part):
        maps.load_state_dict(plain.blocks[1].prime.part.state_dict())
    modules, parameters = copy.deepcopy(plain), copy.deepcopy(plain)
    modules.blocks[2].prime.part = modules.blocks[1].prime.part
    for name in ("gate", "up", "down"):
        getattr(parameters.blocks[2].prime.part, name).weight = getattr(parameters.blocks[1].prime.part, name).weight
    one = TTTModel(modules, INNER.replace(clip=float("inf")))
    two = TTTModel(parameters, INNER.replace(clip=float("inf"), count=2))
    found = learnt(one)
    assert_same(found[:3], learnt(two)[:3])
    assert_same(found, learnt(one))  # and the weights of the model are its own again
    apart = TTTModel(plain, INNER.replace(clip=float("inf"), count=2, rate=0.0))
    still = TTTModel(copy.deepcopy(modules), INNER.replace(rate=0.0))
    torch.testing.assert_close(learnt(still)[0], learnt(apart)[0])
    assert one.num_fast == two.num_fast == 3 * 8 * 8


@pytest.mark.parametrize("order", ["exact", "first"])
def test_a_model_that_is_frozen_after_building_reads_as_before_in_every_mode(order):
    model, frozen = (TTTModel(base(), INNER.replace(order=order)) for _ in range(2))
    frozen.requires_grad_(False)
    expected = learnt(model)[:3]
    with torch.no_grad():
        assert torch.equal(frozen(TOKENS), expected[1])
    torch.testing.assert_close(frozen(TOKENS), expected[0])
    part = TTTModel(base(), INNER.replace(order=order))
    freeze(part, "base.blocks.1.prime.part", count=1)
    part.read(TOKENS, TARGETS).losses.mean().backward()
    gradients = {name: p.grad for name, p in part.named_parameters()}
    learnt(model)
    for name, parameter in model.named_parameters():
        if "prime.part" in name:
            assert gradients[name] is None
        elif parameter.grad is not None and "blocks.0" in name:
            torch.testing.assert_close(gradients[name], parameter.grad)
