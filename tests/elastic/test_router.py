"""The router: one-hot choices are budgets, expected costs are costs, gradients reach everything, targets are met."""

import pytest
import torch
import torch.nn.functional as F
from small_parent import SMALL, make_parent, make_tokens
from torch import Generator

from lablib.elastic.budgets import Budget, cost, sliced_config
from lablib.elastic.router import Place, Router, RouterConfig, cells, places, share_of, within
from lablib.elastic.slices import Masked, masks, sliced

CFG = RouterConfig(
    targets=(1.0, 0.6), width=(8, 12, 16), hidden=(5, 10, 20), mamba_heads=(1, 2), heads=(2, 4), depths=(3, 4, 5),
    depth=(1, 0, 4, 3, 2), neurons=8,
)  # fmt: skip
# the MLPs have 24 and 20 neurons, the Mamba layers 2 and 4 heads a group; so 1.0 of these options is less than all
WHOLE = share_of(SMALL, Budget(width=16, hidden=20, mamba_heads=2, heads=4))


def make_router(**changes) -> Router:
    cfg = CFG.replace(targets=(WHOLE, 0.5), **changes)
    return Router(cfg, SMALL, Generator().manual_seed(0))


def one_hot(router: Router, numbers: dict[Place, int]) -> dict:
    many = {place: len(router.cfg.options(place.axis)) for place in router.places}
    return {place: F.one_hot(torch.tensor(numbers[place]), many[place]).float() for place in router.places}


@pytest.mark.parametrize("heterogeneous", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_a_one_hot_choice_is_a_budget_with_its_cost(heterogeneous, seed):
    router, draw = make_router(heterogeneous=heterogeneous), Generator().manual_seed(seed)
    numbers = {p: int(torch.randint(len(router.cfg.options(p.axis)), (), generator=draw)) for p in router.places}
    choices = one_hot(router, numbers)
    for place, out, into in zip(router.places, router.out, router.into, strict=True):
        with torch.no_grad():
            out.zero_()
            into.fill_(1.0)
            out[numbers[place]] = 1.0
    budget = router.budget(0)
    if heterogeneous:
        assert isinstance(budget.hidden, tuple)
    found, expected = router.masks(choices), masks(SMALL, budget)
    model, tokens = make_parent(torch.float32), make_tokens()
    torch.testing.assert_close(Masked(model)(tokens, found), sliced(model, budget)(tokens), rtol=1e-4, atol=1e-4)
    kept = {place for place in range(5) if budget.layers is None or place in budget.layers}
    assert all(torch.equal(found[axis], mask) for axis, mask in expected.items() if axis.layer in kept | {-1})
    assert float(router.expected_parameters(choices)) == cost(sliced_config(SMALL, budget)).parameters


def test_width_and_depth_are_for_all_layers_whatever_the_router():
    assert [place for place in places(CFG, SMALL) if place.layer is not None] == []
    own = places(CFG.replace(heterogeneous=True), SMALL)
    assert own[:2] == [Place("width"), Place("layers")]
    assert [place.layer for place in own[2:]] == [1, 3, 0, 4, 2]


@pytest.mark.parametrize("mix", ["soft", "straight-through"])
def test_gradients_reach_every_choice_and_the_weights(mix):
    router, model, tokens = make_router(mix=mix, heterogeneous=True), make_parent(torch.float32), make_tokens()
    choices = router.draw(1, 0.0, Generator().manual_seed(3))
    loss = Masked(model)(tokens, router.masks(choices)).square().mean() + router.cost_loss(choices, 1)
    loss.backward()
    kept = CFG.depth[: CFG.depths[int(choices[Place("layers")].argmax())]]  # a layer that is left out has no gradient
    for place, into, out in zip(router.places, router.into, router.out, strict=True):
        if mix == "soft" or place.layer in (None, *kept):
            assert into.grad[:, 1].abs().max() > 0
            assert out.grad.abs().max() > 0
        assert not into.grad[:, 0].any()  # the other target
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_straight_through_is_hard_forward_and_soft_backward():
    soft, hard = (make_router(mix=mix).draw(0, 0.3, Generator().manual_seed(3)) for mix in ("soft", "straight-through"))
    for place, shares in soft.items():
        torch.testing.assert_close(shares.sum(), torch.tensor(1.0))
        torch.testing.assert_close(hard[place], F.one_hot(shares.argmax(), len(shares)).float())
    router = make_router(mix="straight-through")
    weight = torch.arange(3.0)
    (router.draw(0, 0.3, Generator().manual_seed(3))[Place("width")] @ weight).backward()
    gradient, router = router.out[0].grad.clone(), make_router()
    (router.draw(0, 0.3, Generator().manual_seed(3))[Place("width")] @ weight).backward()
    torch.testing.assert_close(gradient, router.out[0].grad)


def test_choices_sharpen_over_the_training():
    router = make_router()
    largest = [
        torch.stack([router.draw(0, progress, Generator().manual_seed(i))[Place("hidden")].max() for i in range(40)])
        for progress in (0.0, 0.5, 1.0)
    ]
    means = [float(found.detach().mean()) for found in largest]
    assert means[0] < means[1] < means[2]
    assert means[2] > 0.99
    last = router.last(0)[Place("hidden")]
    torch.testing.assert_close(last, (10 / 0.05 * router.logits(0)[Place("hidden")]).softmax(-1))


def test_a_router_alone_meets_a_target_of_its_cells():
    """With nothing but the cost to learn, the chosen budget comes near the target."""
    router, noise = make_router(cost_weight=1.0), Generator().manual_seed(1)
    optimizer = torch.optim.Adam(router.parameters(), lr=3e-2)
    for step in range(200):
        loss = sum(router.cost_loss(router.draw(i, step / 200, noise), i) for i in range(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for i, target in enumerate(router.cfg.targets):
        assert share_of(SMALL, router.budget(i)) == pytest.approx(target, abs=0.06)


def test_cells_are_all_combinations_and_near_ones_are_near():
    found = cells(CFG)
    assert len(found) == len(set(found)) == 3 * 3 * 2 * 2 * 3
    near = within(CFG, SMALL, 0.5)
    assert near
    assert all(0.47 <= share_of(SMALL, cell) <= 0.5 for cell in near)


@pytest.mark.parametrize("target", [0.01, 1.1])
def test_a_target_that_cannot_be_reached_is_refused_with_the_range(target):
    with pytest.raises(ValueError, match=rf"targets holds \[{target}\]; these options reach 0\.\d\d to 0\.\d\d"):
        Router(CFG.replace(targets=(0.5, target)), SMALL, Generator())


@pytest.mark.parametrize(
    "changes",
    [{"width": ()}, {"depths": (7,)}, {"temperature": (0.0, 1.0)}, {"cost_weight": -1.0}, {"scale": (-1.0, 1.0)}],
)
def test_a_router_that_cannot_be_meant_is_refused(changes):
    with pytest.raises(ValueError, match=r"expected|must be|depths"):
        CFG.replace(**changes)


def test_an_option_that_the_parent_does_not_have_is_refused():
    with pytest.raises(ValueError, match="width is 20; expected 1 to 16"):
        Router(CFG.replace(targets=(0.5,), width=(8, 20)), SMALL, Generator())
