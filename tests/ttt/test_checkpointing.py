"""A recomputed function is the function, in values and gradients, and what it keeps does not grow with its inside."""

import weakref
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Generator

from lablib.nn.model import LanguageModel
from lablib.ttt.checkpointing import recomputed
from lablib.ttt.e2e import InnerConfig, TTTModel
from lablib.ttt.experiments.cost import MemoryConfig, outer_step
from lablib.ttt.train_and_evaluate import SANDWICH


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


@dataclass(eq=False)
class Room:
    filled: torch.Tensor
    used: int


def test_gradients_flow_through_dataclasses():
    def grow(room: Room) -> Room:
        return Room(room.filled * 3, room.used + 1)

    x = torch.ones(2, requires_grad=True)
    grown = recomputed(grow, Room(x, 1))
    assert grown.used == 2
    assert torch.autograd.grad(grown.filled.sum(), x)[0].tolist() == [3, 3]


def test_an_object_that_might_hide_a_tensor_is_refused():
    class Hidden:
        pass

    with pytest.raises(TypeError, match="a Hidden goes from chunk to chunk"):
        recomputed(lambda hidden: torch.zeros(1), Hidden())


class Kept:
    """The bytes that graphs keep for their gradients, each storage once: `now`, and the most there were."""

    def __init__(self):
        self.holders, self.now, self.most = Counter(), 0, 0

    def pack(self, tensor: torch.Tensor) -> list[torch.Tensor]:
        class Holder(list):  # a list has no weak references, its subclass has
            pass

        storage, held = tensor.untyped_storage(), Holder([tensor.detach()])  # with its graph it would keep itself
        key = (storage.data_ptr(), storage.nbytes())
        self.holders[key] += 1
        self.now += key[1] if self.holders[key] == 1 else 0
        self.most = max(self.most, self.now)
        weakref.finalize(held, self.drop, key)
        return held

    def drop(self, key: tuple[int, int]) -> None:
        self.holders[key] -= 1
        self.now -= 0 if self.holders[key] else key[1]


def of_an_outer_step(chunks: int, group: int) -> tuple[int, int]:
    """Bytes kept when the outer loss is known, and how many more stand open at a time on the way to its gradient."""
    model = TTTModel(LanguageModel(SANDWICH.replace(plan="swa+prime")), InnerConfig(group=group))
    tokens = torch.randint(16, (2, 16 * chunks), generator=Generator().manual_seed(0))
    count = Kept()
    with torch.autograd.graph.saved_tensors_hooks(count.pack, lambda held: held[0]):
        loss = model.read(tokens, tokens).losses.mean()
        kept = count.most = count.now
        loss.backward()
    return kept, count.most - kept


def test_memory_is_a_state_a_group_and_the_chunks_of_one_group():
    """N / n + n, and without groups N: what is kept grows with the groups, what is open with their size."""
    kept = {(n, group): of_an_outer_step(n, group)[0] for n in (4, 8, 12) for group in (0, 1, 4)}
    for group in (0, 1, 4):
        further = kept[12, group] - kept[8, group]
        assert further == pytest.approx(kept[8, group] - kept[4, group], rel=0.02), "linear in the chunks"
    assert kept[12, 4] - kept[8, 4] < 0.4 * (kept[12, 1] - kept[8, 1])
    assert kept[12, 1] - kept[8, 1] < 0.5 * (kept[12, 0] - kept[8, 0])
    opened = {group: of_an_outer_step(16, group)[1] for group in (2, 4, 8)}
    assert opened[8] - opened[4] == pytest.approx(2 * (opened[4] - opened[2]), rel=0.1)


def test_groups_near_the_square_root_need_least_memory():
    """Sixty-four chunks: with groups of eight a fraction of what all of them need, and no more than groups of all."""
    from lablib.core.measure import in_fresh_process

    peak = {}
    for group in (0, 8, 64):
        cfg = MemoryConfig(chunks=64, group=group, batch=4)
        peak[group] = in_fresh_process(outer_step, cfg)["peak_megabytes"]
    assert peak[8] < 0.5 * peak[0]
    assert peak[8] < 0.5 * peak[64]
