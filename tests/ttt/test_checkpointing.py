"""A recomputed function is the function, in values and gradients, and what it keeps does not grow with its inside."""

from typing import NamedTuple

import torch
from torch import Generator

from lablib.ttt.checkpointing import recomputed
from lablib.ttt.experiments.cost import MemoryConfig, outer_step


class Pair(NamedTuple):
    first: torch.Tensor
    second: dict


def function(pair: Pair, factor: int, more: list):
    total = pair.first * factor + pair.second["w"].exp() + more[0]
    return Pair(total, {"w": total.sin(), "n": factor}), [total * 2]


def inputs():
    draw = Generator().manual_seed(0)
    first, w, more = (torch.randn(3, generator=draw, dtype=torch.float64, requires_grad=True) for _ in range(3))
    return (Pair(first, {"w": w}), 3, [more]), [first, w, more]


def test_it_returns_the_same_structures_and_gradients():
    found = []
    for call in (function, lambda *given: recomputed(function, *given)):
        given, leaves = inputs()
        pair, (twice,) = call(*given)
        assert pair.second["n"] == 3
        loss = pair.first.sum() + (pair.second["w"] * twice).sum()
        found.append([pair.first, pair.second["w"], twice, *torch.autograd.grad(loss, leaves)])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_a_result_that_is_not_used_and_an_input_without_gradient_do_no_harm():
    given, leaves = inputs()
    given[2][0] = leaves[2].detach()
    pair, _ = recomputed(function, *given)
    first, w = torch.autograd.grad(pair.first.sum(), leaves[:2])
    assert torch.equal(first, torch.full_like(first, 3))
    torch.testing.assert_close(w, leaves[1].exp().detach())


def test_groups_near_the_square_root_need_least_memory():
    """Sixty-four chunks: with groups of eight a fraction of what all of them need, and no more than groups of all."""
    from lablib.core.measure import in_fresh_process

    peak = {}
    for group in (0, 8, 64):
        cfg = MemoryConfig(chunks=64, group=group, batch=4)
        peak[group] = in_fresh_process(outer_step, cfg)["peak_megabytes"]
    assert peak[8] < 0.5 * peak[0]
    assert peak[8] < 0.5 * peak[64]
