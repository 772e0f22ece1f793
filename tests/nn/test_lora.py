"""Low-rank adapters against peft, and their laws: they begin as the identity, merge, unmerge, and are switched."""

import copy
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lablib.nn.layers import Linear
from lablib.nn.lora import LoRAConfig, LoRALinear, activate, lora_maps, merge, plain, unmerge, with_lora
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig

CFG = ModelConfig(plan="full full+relu2", vocab=11, width=16, bias=True)


@pytest.fixture
def model(generator):
    return LanguageModel(CFG, generator)


def maps(model):
    return sum(isinstance(part, Linear) for name, part in model.named_modules() if name.startswith("blocks."))


def adapted(model, generator, name="adapter", **fields):
    changed = with_lora(model, LoRAConfig(**fields), "blocks.*", count=maps(model), generator=generator, name=name)
    for _, part in lora_maps(changed):  # as if trained
        torch.nn.init.normal_(part.adapters[name].up, std=0.1, generator=generator)
    return changed


def tokens(generator):
    return torch.randint(11, (3, 9), generator=generator)


class TwoMaps(torch.nn.Module):
    """What peft adapts."""

    def __init__(self, generator):
        super().__init__()
        self.one, self.two = Linear(12, 20, bias=True), Linear(20, 7)
        for p in self.parameters():
            torch.nn.init.normal_(p, generator=generator)

    def forward(self, x):
        return self.two(torch.tanh(self.one(x)))


FORMS = {
    "LoRA": ({}, {}),
    "rsLoRA": ({"scaling": "root"}, {"use_rslora": True}),
    "DoRA": ({"magnitude": True}, {"use_dora": True}),
}


@pytest.mark.parametrize(("ours", "theirs"), FORMS.values(), ids=FORMS)
def test_output_and_gradients_are_those_of_peft(ours, theirs, generator):
    base, x = TwoMaps(generator), torch.randn(5, 12, generator=generator, requires_grad=True)
    mine = with_lora(base, LoRAConfig(rank=3, alpha=6.0, **ours), "*", count=2, generator=generator)
    cfg = LoraConfig(r=3, lora_alpha=6, target_modules=["one", "two"], **theirs)
    other = get_peft_model(copy.deepcopy(base), cfg)
    pairs = []
    for name, part in lora_maps(mine):
        adapter, peft_map = part.adapters["adapter"], getattr(other.base_model.model, name)
        torch.nn.init.normal_(adapter.up, generator=generator)
        its = [peft_map.lora_A["default"].weight, peft_map.lora_B["default"].weight]
        own = [adapter.down, adapter.up]
        if adapter.magnitude is not None:
            torch.nn.init.normal_(adapter.magnitude, generator=generator)
            own.append(adapter.magnitude)
            its.append(peft_map.lora_magnitude_vector["default"].weight)
        for mine_each, its_each in zip(own, its, strict=True):
            its_each.data.copy_(mine_each.data)
        pairs += zip(own, its, strict=True)
    y, z, seen = mine(x), other(x), torch.randn(5, 7, generator=generator)
    own_weights, its_weights = zip(*pairs, strict=True)
    gradients = [torch.autograd.grad(out, [x, *w], seen) for out, w in ((y, own_weights), (z, its_weights))]
    for own, its in ((y, z), *zip(*gradients, strict=True)):
        if "use_dora" in theirs:
            torch.testing.assert_close(own, its, rtol=1e-5, atol=1e-5)
        else:
            assert torch.equal(own, its)


@pytest.mark.parametrize("magnitude", [False, True])
def test_an_adapter_begins_as_the_identity_and_trains_nothing_else(magnitude, model, generator):
    cfg, rows = LoRAConfig(magnitude=magnitude), tokens(generator)
    fresh = with_lora(model, cfg, "blocks.*", count=maps(model), generator=generator)
    torch.testing.assert_close(fresh(rows), model(rows), rtol=0, atol=1e-5 * magnitude)
    trained = {name for name, p in fresh.named_parameters() if p.requires_grad}
    assert trained == {name for name in fresh.state_dict() if ".adapters." in name}
    assert all(p.requires_grad for p in model.parameters()), "the base was changed"
    assert not any(isinstance(part, LoRALinear) for part in model.modules())


@pytest.mark.parametrize("fields", [{}, {"scaling": "root"}, {"magnitude": True}], ids=str)
def test_merged_plain_and_unmerged(fields, model, generator):
    changed, rows = adapted(model, generator, **fields), tokens(generator)
    before, y = copy.deepcopy(changed.state_dict()), changed(rows)
    assert not torch.allclose(y, model(rows), atol=1e-2)
    alone = plain(changed)
    assert alone.state_dict().keys() == model.state_dict().keys()
    torch.testing.assert_close(alone(rows), y, rtol=0, atol=2e-5)
    merge(changed)
    torch.testing.assert_close(changed(rows), y, rtol=0, atol=2e-5)
    assert torch.equal(plain(changed)(rows), changed(rows))
    unmerge(changed)
    assert all(torch.equal(value, before[name]) for name, value in changed.state_dict().items())
    assert torch.equal(changed(rows), y)


def test_adapters_are_switched_by_name(model, generator):
    rows, first = tokens(generator), adapted(model, generator, "first")
    both = adapted(first, generator, "second", rank=2)
    assert not torch.equal(both(rows), first(rows))
    activate(both, "first")
    assert torch.equal(both(rows), first(rows))
    merge(both)
    activate(both, None)
    assert torch.equal(both(rows), model(rows)), "an adapter that is switched off was left in the weights"


REFUSED = {
    "a rank above the map": ({"rank": 17}, "blocks.*", "rank is 17 for a map from 16 to 16"),
    "a rank of 0": ({"rank": 0}, "blocks.*", "rank"),
    "no map": ({}, "layers.*", "'layers.*' matches 0 modules"),
}


@pytest.mark.parametrize(("fields", "pattern", "words"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_is_refused(fields, pattern, words, model, generator):
    with pytest.raises(ValueError, match=words.replace("*", r"\*")):
        with_lora(model, LoRAConfig(**fields), pattern, count=maps(model), generator=generator)


def test_a_name_is_used_once_and_has_to_be_there(model, generator):
    changed = adapted(model, generator)
    with pytest.raises(ValueError, match="has an adapter 'adapter' already"):
        adapted(changed, generator)
    with pytest.raises(ValueError, match="no map has an adapter 'other'; there are adapter"):
        activate(changed, "other")


def test_a_large_scale_is_told(model, generator):
    with pytest.warns(UserWarning, match="alpha=64 at rank 4 multiplies the change by 16"):
        adapted(model, generator, alpha=64.0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        adapted(model, generator, alpha=16.0)
