"""Rankings: permutations that change nothing, scores by hand, hooks that leave nothing behind, depth."""

import pytest
import torch
from small_parent import ROTATED, SMALL, make_parent, make_tokens
from torch import Generator

from lablib.data.batch import every_next
from lablib.elastic.budgets import Budget
from lablib.elastic.ranking import (
    METRICS,
    Order,
    across_groups,
    damage,
    depth_order,
    depth_scores,
    importance,
    permuted,
    random_order,
    ranked,
    reversed_order,
)
from lablib.elastic.slices import WIDTH, Axis, Slices, sliced


def a_batch(length: int = 13):
    batch = every_next(make_tokens(4, length + 1))
    weight = batch.weight.clone()
    weight[:, ::3] = 4.0
    return batch._replace(weight=weight)


@pytest.mark.parametrize("shape", [SMALL, ROTATED], ids=["without positions", "rotary"])
@pytest.mark.parametrize("seed", range(4))
def test_an_order_that_keeps_groups_changes_nothing(seed, shape):
    model, tokens = make_parent(shape=shape), make_tokens()
    order = random_order(shape, importance(model, tokens), Generator().manual_seed(seed))
    torch.testing.assert_close(permuted(model, order)(tokens), model(tokens), rtol=0, atol=1e-12)


def test_an_order_that_breaks_groups_is_refused_and_would_change_much():
    model, tokens = make_parent(), make_tokens()
    scores = importance(model, tokens)
    scores[Axis("heads", 0)] = torch.tensor([1.0, 2, 3, 4], dtype=torch.double)  # the second group before the first
    order = across_groups(SMALL, scores)
    with pytest.raises(ValueError, match=r"layer 0, \[3, 2, 1, 0\], takes heads out of their groups of 2"):
        permuted(model, order)
    assert (permuted(model, order, break_groups=True)(tokens) - model(tokens)).abs().max() > 1e-2


def test_what_is_no_permutation_is_refused():
    model, tokens = make_parent(), make_tokens()
    good = ranked(SMALL, importance(model, tokens)).places
    for axis, wrong in ((WIDTH, torch.zeros(16, dtype=torch.long)), (WIDTH, torch.arange(15)),
                        (Axis("hidden", 1), good[Axis("hidden", 1)] + 1)):  # fmt: skip
        with pytest.raises(ValueError, match="is no permutation"):
            permuted(model, Order(good | {axis: wrong}))


def test_ranked_is_from_the_most_important_on_and_reversed_the_other_way():
    model, tokens = make_parent(), make_tokens()
    scores = importance(model, tokens)
    for axis, places in ranked(SMALL, scores).places.items():
        each = scores[axis][places]
        parts = each.unflatten(0, (2, -1)) if axis in (Axis("heads", 0), Axis("heads", 4)) else each[None]
        assert bool((parts.diff(dim=1) <= 0).all()), axis
    back = reversed_order(SMALL, scores).places[WIDTH]
    assert torch.equal(back.flip(0), ranked(SMALL, scores).places[WIDTH])


def test_scores_are_those_of_the_formulas():
    model, tokens = make_parent(), make_tokens()
    with torch.no_grad():
        x = model.embedding(tokens)
        normed = model.blocks[0].mixers[0].before(x)
        mamba = model.blocks[0].mixers[0].part
        inner = normed @ mamba.into.weight[24:48].T  # x of 4 heads of 6 channels
        by_head = inner.unflatten(-1, (4, 6)).abs().mean(1).square().sum(0).sqrt()
        x, _ = model.blocks[0](x, None, model.context())
        up = model.blocks[1].mlp.part.up(model.blocks[1].mlp.before(x))
    scores = importance(model, tokens)
    torch.testing.assert_close(scores[Axis("channels", 0)], by_head.norm(dim=0))
    torch.testing.assert_close(scores[Axis("heads", 0)], by_head.norm(dim=1))
    torch.testing.assert_close(scores[Axis("hidden", 1)], up.abs().mean(1).square().sum(0).sqrt())
    after = importance(model, tokens, after=True)[Axis("hidden", 1)]
    torch.testing.assert_close(after, up.relu().square().mean(1).square().sum(0).sqrt())
    best = by_head.norm(dim=0).argsort(descending=True)[:2]
    few = importance(model, tokens, channels=2)[Axis("heads", 0)]
    torch.testing.assert_close(few, by_head[:, best].norm(dim=1))
    norms = [module for name, module in model.named_modules() if name.endswith("before")] + [model.norm]
    seen = []
    handles = [norm.register_forward_hook(lambda _, __, out: seen.append(out)) for norm in norms]
    model(tokens)
    for handle in handles:
        handle.remove()
    read = sum(out.detach().abs().mean(1).square().sum(0).sqrt() for out in seen)
    torch.testing.assert_close(scores[WIDTH], read)


def test_hooks_are_gone_also_after_an_error():
    model, tokens = make_parent(), make_tokens()
    importance(model, tokens)
    depth_scores(model, a_batch(), "1 - cos")
    with pytest.raises(ValueError, match="tokens hold ids"):
        importance(model, tokens + SMALL.vocab)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_layer_that_is_left_out_is_a_layer_that_is_deleted():
    model, tokens = make_parent(), make_tokens()
    without = Slices(model)(tokens, Budget(layers=(0, 1, 3, 4)))
    del model.blocks[2]
    torch.testing.assert_close(without, model(tokens), rtol=0, atol=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_a_layer_that_does_nothing_is_the_least_important(metric):
    model = make_parent()
    with torch.no_grad():
        model.blocks[3].mlp.part.down.weight.zero_()
    scores = depth_scores(model, a_batch(), metric)
    assert scores[3] == pytest.approx(0, abs=1e-9)
    for iterative in (False, True):
        order = depth_order(model, a_batch(), metric, iterative=iterative)
        assert sorted(order) == [0, 1, 2, 3, 4]
        if metric != "loss":  # leaving out another layer may lower the loss
            assert order[-1] == 3


def test_iterative_means_scored_again_without_the_least():
    model, batch = make_parent(), a_batch()
    order = depth_order(model, batch, "KL", iterative=True)
    scores = depth_scores(model, batch, "KL")
    assert min(scores, key=scores.__getitem__) == order[-1]
    again = depth_scores(model, batch, "KL", sorted(set(range(5)) - {order[-1]}))
    assert min(again, key=again.__getitem__) == order[-2]


def test_a_constant_on_all_logits_moves_the_plain_metric_alone():
    batch, noise = a_batch(), Generator().manual_seed(3)
    logits = torch.randn(4, 13, SMALL.vocab, generator=noise, dtype=torch.double)
    moved = logits + torch.randn(4, 13, 1, generator=noise, dtype=torch.double)
    assert damage("nMSE", logits, moved, batch) > 0.1
    for metric in ("nMSE, centred", "KL", "loss"):
        assert damage(metric, logits, moved, batch) == pytest.approx(0, abs=1e-12)
    answers = batch.weight > 1
    elsewhere = torch.where(answers[..., None], logits, moved)
    assert damage("nMSE, answers", logits, elsewhere, batch) == 0


def test_ranked_slices_of_a_model_whose_first_neurons_are_dead_keep_the_others():
    """An oracle: the neurons that matter stand last, so that a plain prefix loses all and a ranked one nothing."""
    model, tokens = make_parent(), make_tokens()
    with torch.no_grad():
        model.blocks[1].mlp.part.up.weight[:14] = 0
    budget = Budget(hidden=(10, 20))
    sorted_model = permuted(model, ranked(SMALL, importance(model, tokens)))
    torch.testing.assert_close(sliced(sorted_model, budget)(tokens), model(tokens), rtol=0, atol=1e-12)
    assert (sliced(model, budget)(tokens) - model(tokens)).abs().max() > 1e-2
