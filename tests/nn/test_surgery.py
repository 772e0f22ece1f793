"""Acting on parts of a model by name never silently does nothing."""

import copy

import pytest
import torch
from torch import nn

from lablib.nn.layers import SwiGLU
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.surgery import freeze, replace, select


@pytest.fixture
def model() -> LanguageModel:
    return LanguageModel(ModelConfig(plan="swa memory swa+hsa swa", width=8, vocab=10))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("blocks.*.mlp", ["blocks.0.mlp", "blocks.1.mlp", "blocks.2.mlp"]),
        ("*.mlp", ["blocks.0.mlp", "blocks.1.mlp", "blocks.2.mlp", "encoder.mlp"]),
        ("*.retriever", ["blocks.1.mixers.1.part.retriever"]),
        ("blocks.0", ["blocks.0"]),
        ("head", ["head"]),
    ],
)
def test_a_glob_selects_by_dotted_name(model, pattern, names):
    found = select(model, pattern, count=len(names))
    assert list(found) == names
    assert all(model.get_submodule(name) is module for name, module in found.items())


@pytest.mark.parametrize(("pattern", "there"), [("block.*.mlp", 0), ("*.mlp", 4), ("Head", 0)])
@pytest.mark.parametrize("act", [select, freeze, lambda *x, count: replace(*x, lambda old: old, count=count)])
def test_another_count_than_expected_is_refused_and_changes_nothing(model, act, pattern, there):
    before = dict(model.named_modules())
    with pytest.raises(ValueError, match=f"matches {there} modules, expected 3"):
        act(model, pattern, count=3)
    assert dict(model.named_modules()) == before
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_freezing_stops_exactly_the_selected_parameters(model):
    freeze(model, "blocks.[12].mlp", count=2)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    maps, norms = ("gate", "up", "down"), {f"blocks.{i}.mlp.before.gain" for i in (1, 2)}
    assert frozen == {f"blocks.{i}.mlp.part.{name}.weight" for i in (1, 2) for name in maps} | norms
    model(torch.zeros(1, 20, dtype=torch.long)).sum().backward()
    assert all((parameter.grad is None) for name, parameter in model.named_parameters() if name in frozen)
    assert model.blocks[0].mlp.part.gate.weight.grad is not None


def test_replacing_puts_the_new_module_where_the_old_one_was(model):
    old = dict(select(model, "blocks.[12].mlp.part", count=2))
    built = []
    replace(model, "blocks.[12].mlp.part", lambda module: built.append(module) or nn.Identity(), count=2)
    assert built == list(old.values())
    assert isinstance(model.blocks[1].mlp.part, nn.Identity)
    assert isinstance(model.blocks[0].mlp.part, SwiGLU)
    assert model(torch.zeros(1, 20, dtype=torch.long)).shape == (1, 20, 10)


def test_a_module_at_the_top_can_be_replaced_too(model):
    replace(model, "head", lambda old: nn.Linear(8, 3), count=1)
    assert model(torch.zeros(1, 20, dtype=torch.long)).shape == (1, 20, 3)


def test_replacing_by_itself_leaves_the_model_alone(model):
    tokens = torch.arange(10)[None]
    before = model(tokens)
    replace(model, "*.mlp", lambda old: old, count=4)
    assert torch.equal(model(tokens), before)


@pytest.mark.parametrize("pattern", ["blocks.0", "blocks.0.mlp", "blocks.0.mlp.part"])
def test_a_module_that_layers_share_is_replaced_in_all_of_them(pattern):
    model = LanguageModel(ModelConfig(plan="3*swa swa", width=8, vocab=10))
    old, other = model.get_submodule(pattern), model.blocks[3].get_submodule(pattern[len("blocks.0.") :])
    built = []
    replace(model, pattern, lambda module: built.append(copy.deepcopy(module)) or built[-1], count=1)
    everywhere = dict(model.named_modules(remove_duplicate=False))
    assert all(everywhere[pattern.replace("0", str(i))] is built[0] for i in range(3))
    assert not any(module is old for module in everywhere.values())
    assert everywhere[pattern.replace("0", "3")] is other
    assert len(built) == 1
    assert model(torch.zeros(1, 20, dtype=torch.long)).shape == (1, 20, 10)


def test_a_wrapper_may_hold_what_it_replaces_and_a_part_of_it_is_replaced_too(model):
    head, tokens = model.head, torch.arange(10)[None]
    before = model(tokens)
    replace(model, "head", lambda old: nn.Sequential(old, nn.Identity()), count=1)
    assert model.head[0] is head
    assert torch.equal(model(tokens), before)
    replace(model, "blocks.0.mlp*", lambda old: nn.Sequential(old) if "Residual" in str(type(old)) else nn.Identity(),
            count=7)  # fmt: skip
    assert isinstance(model.blocks[0].mlp[0].part, nn.Identity), "the part inside of what was wrapped"


@pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile imports what torch calls deprecated
@pytest.mark.parametrize("place", ["", "blocks.1", "blocks.2.mlp", "encoder"])
def test_a_compiled_part_keeps_its_plain_name(model, place):
    patterns = {"blocks.*.mlp": 3, "*.mlp": 4, "blocks.1": 1, "*.retriever": 1, "head": 1}
    expected = {pattern: list(select(model, pattern, count=count)) for pattern, count in patterns.items()}
    parent, _, leaf = place.rpartition(".")
    if place:
        setattr(model.get_submodule(parent), leaf, torch.compile(model.get_submodule(place)))
    compiled = model if place else torch.compile(model)
    for pattern, count in patterns.items():
        assert list(select(compiled, pattern, count=count)) == expected[pattern]
    replace(compiled, "blocks.1", lambda old: nn.Identity(), count=1)
    replace(compiled, "blocks.2.mlp", lambda old: nn.Identity(), count=1)
    assert type(model.blocks[1]) is nn.Identity
    assert type(model.blocks[2].mlp) is nn.Identity
    freeze(compiled, "encoder", count=1)
    assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
