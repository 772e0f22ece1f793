"""Laws of slices and masks: masked == sliced == run from the shared weights, forward and backward."""

import pytest
import torch
from small_parent import BUDGETS, ROTATED, SMALL, make_parent, make_tokens
from torch import Generator

from lablib.core.measure import count_flops, num_parameters
from lablib.elastic.budgets import Budget, cost, sliced_config
from lablib.elastic.slices import Axis, Masked, Slices, axes_of, masks, shared_bytes, sliced, sliced_weights, taken
from lablib.nn import recurrent
from lablib.nn.model import LanguageModel, state_bytes
from lablib.nn.plan import ModelConfig
from lablib.ops.ssd import ssd_recurrence


def of_type(found, dtype):
    return {axis: mask.to(dtype) for axis, mask in found.items()}


@pytest.mark.parametrize("name", BUDGETS)
@pytest.mark.parametrize(("dtype", "most"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("shape", [SMALL, ROTATED], ids=["without positions", "rotary"])
def test_masked_sliced_and_shared_give_the_same_logits(name, dtype, most, shape):
    model, tokens, budget = make_parent(dtype, shape), make_tokens(), BUDGETS[name]
    small = sliced(model, budget)
    shared, masked = Slices(model)(tokens, budget), Masked(model)(tokens, of_type(masks(shape, budget), dtype))
    torch.testing.assert_close(shared, small(tokens), rtol=0, atol=most)  # a view has other strides than a copy
    torch.testing.assert_close(masked, small(tokens), rtol=0, atol=most)


def test_the_whole_budget_is_the_parent_bit_for_bit():
    model, tokens = make_parent(torch.float32), make_tokens()
    assert torch.equal(sliced(model, Budget())(tokens), model(tokens))
    assert torch.equal(Slices(model)(tokens, Budget()), model(tokens))


@pytest.mark.parametrize("name", ["jointly", "Mamba heads by layer", "layers"])
def test_gradients_reach_the_shared_weights_as_through_masks(name):
    tokens, found = make_tokens(), []
    for way in (Slices, Masked):
        model = make_parent()
        given = BUDGETS[name] if way is Slices else of_type(masks(SMALL, BUDGETS[name]), torch.float64)
        way(model)(tokens, given).square().sum().backward()
        found.append({n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()})
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], rtol=1e-9, atol=1e-9, msg=name)


def random_budget(draw: Generator) -> Budget:
    pick = lambda most: int(torch.randint(1, most + 1, (), generator=draw))  # noqa: E731
    layers = torch.randperm(5, generator=draw)[: pick(5)].sort().values.tolist()
    heads = (pick(2), pick(4))
    return Budget(
        width=pick(16), hidden=(pick(24), pick(20)), mamba_heads=heads, mamba_channels=pick(3), heads=pick(4),
        layers=tuple(layers),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_the_cost_of_a_random_budget_is_what_its_slice_has(seed, monkeypatch):
    budget = random_budget(Generator().manual_seed(seed))
    small, found = sliced(make_parent(), budget), cost(sliced_config(SMALL, budget), length=8)
    embedded = 2 * small.embedding.weight.numel()
    assert num_parameters(small) - embedded == found.parameters
    _, state = small.float().read(make_tokens(1, 8))
    assert state_bytes(state) == found.state_bytes
    # token by token, as the formula has it; the product of a value and a key is a multiply-add there, none of torch's
    monkeypatch.setattr(recurrent, "ssd_chunked", lambda *given, chunk: ssd_recurrence(*given))
    _, before = small.read(make_tokens(1, 7))
    counted = count_flops(lambda: small.read(make_tokens(1, 1), before))
    written = sum(2 * size * SMALL.state for size in inner_sizes(small.cfg))
    assert counted + written == found.flops


def inner_sizes(cfg: ModelConfig) -> list[int]:
    heads = [shape for layer in cfg.layers.layers for name, shape in zip(layer.mixers, layer.heads, strict=True)
             if name == "mamba2"]  # fmt: skip
    return [number * dim for number, dim in heads]


def test_smaller_budgets_are_prefixes_of_larger_ones():
    weights = dict(make_parent().named_parameters())
    large, small = (sliced_weights(weights, SMALL, budget) for budget in (Budget(width=12, hidden=9), BUDGETS["width"]))
    for name, part in (("blocks.1.mlp.part.up.weight", (9, 9)), ("embedding.weight", (11, 9)), ("norm.gain", (9,))):
        cut = tuple(slice(size) for size in part)
        assert torch.equal(large[name][cut], small[name][cut])


def test_a_slice_is_a_view_where_strides_allow():
    weights = dict(make_parent().named_parameters())
    views = sliced_weights(weights, SMALL, BUDGETS["hidden"])
    assert all(view.untyped_storage().data_ptr() == weights[name].untyped_storage().data_ptr()
               for name, view in views.items())  # fmt: skip
    inside, whole = shared_bytes(weights, SMALL, BUDGETS["hidden"])
    assert inside == whole == 8 * sum(view.numel() for view in views.values())
    inside, whole = shared_bytes(weights, SMALL, BUDGETS["Mamba heads"])  # heads of two groups: no range
    assert 0 < inside < whole
    copied = taken(weights["blocks.1.mlp.part.up.weight"], axes_of(SMALL)["blocks.1.mlp.part.up.weight"],
                   {Axis("hidden", 1): torch.tensor([3, 1]), Axis("width"): torch.arange(16)})  # fmt: skip
    assert copied.untyped_storage().data_ptr() != weights["blocks.1.mlp.part.up.weight"].untyped_storage().data_ptr()


def test_a_norm_over_all_channels_would_not_do():
    """What the exercise looks for: with the mean over the whole width, masked and sliced differ."""
    model, tokens = make_parent(), make_tokens()
    masked = Masked(model)
    for module in masked._shape[0].modules():
        if hasattr(module, "kept"):
            module.__class__ = type("Whole", (type(module),), {"kept": property(lambda _: 1.0, lambda *_: None)})
    wrong = masked(tokens, of_type(masks(SMALL, BUDGETS["width"]), torch.float64))
    assert (wrong - sliced(model, BUDGETS["width"])(tokens)).abs().max() > 1e-2


def test_masking_and_slicing_leave_the_parent_as_it_was():
    model, tokens = make_parent(), make_tokens()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Masked(model)(tokens, of_type(masks(SMALL, BUDGETS["jointly"]), torch.float64))
    Slices(model)(tokens, BUDGETS["jointly"])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert type(model.norm).__name__ == "RMSNorm"


ODD = {
    "width 0": (Budget(width=0), "width is 0; expected 1 to 16"),
    "too wide": (Budget(width=17), "width is 17; expected 1 to 16"),
    "too many neurons": (Budget(hidden=(3, 21)), "hidden is 21; expected 1 to 20"),
    "a number a layer": (Budget(hidden=(3, 3, 3)), r"hidden is \(3, 3, 3\); expected one number, or 2, one a layer"),
    "heads of a group": (Budget(mamba_heads=3), "mamba_heads is 3; expected 1 to 2, what the parent has in each group"),
    "no such layer": (Budget(layers=(0, 5)), "expected places from 0 to 4"),
}


@pytest.mark.parametrize("name", ODD)
def test_a_budget_that_the_parent_does_not_have_is_refused(name):
    budget, words = ODD[name]
    for use in (
        lambda: sliced(make_parent(), budget),
        lambda: masks(SMALL, budget),
        lambda: sliced_config(SMALL, budget),
    ):
        with pytest.raises(ValueError, match=words):
            use()


@pytest.mark.parametrize("layers", [(), (2, 1), (1, 1), (-1, 2)])
def test_layers_that_do_not_rise_are_refused(layers):
    with pytest.raises(ValueError, match="layers is"):
        sliced_config(SMALL, Budget(layers=layers))


@pytest.mark.parametrize("plan", ["swa", "mamba2:2x8", "full-nope:2x8+relu2", "delta+no-mlp", "3*relu2:8", "mlp:8"])
def test_a_model_that_is_not_elastic_is_refused(plan):
    cfg = ModelConfig(plan=plan, vocab=11, width=16)
    with pytest.raises(ValueError, match="cannot be made elastic"):
        sliced(LanguageModel(cfg), Budget())


def test_a_parameter_that_nobody_knows_is_refused():
    model = make_parent()
    model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match=r"the parameter extra\.bias cannot be sliced"):
        Slices(model)
