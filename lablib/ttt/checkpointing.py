"""Checkpoints through time: keep what goes from group to group of chunks, compute the inside of a group again.

With N chunks in groups of n, N / n states are kept and n chunks stand open at a time: memory is least near n = sqrt(N),
below it by as much as an open chunk takes more than a state (Chen et al., arXiv 1604.06174).
torch.utils.checkpoint does not do here: its inner gradients would each begin the computation of their group anew.
"""

import copy
import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils._pytree import tree_map

from lablib.ops.grad_mode import outside_inference_mode


@outside_inference_mode
def recomputed(function: Callable[..., Any], *arguments: Any) -> Any:
    """`function(*arguments)`, whose graph is not kept but made again for the gradient.

    Gradients flow to every tensor of the arguments, also inside of tuples, lists, dictionaries and dataclasses; a
    parameter that the function finds elsewhere gets none. The result can be differentiated once. Raises TypeError for
    an object that might hide a tensor.
    """
    arguments, tensors = _taken(arguments)
    shape: list[Any] = []

    def run(*given: Tensor) -> tuple[Tensor, ...]:
        shape[:], found = _taken([function(*_put(arguments, given))])
        return tuple(found)

    results = _Recomputed.apply(run, *tensors)
    return _put(shape[0], results)


class _Recomputed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[..., tuple[Tensor, ...]], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.run = run
        ctx.save_for_backward(*tensors)
        with torch.enable_grad():  # as in the backward pass, so that the values are the same to the bit
            results = run(*_leaves(tensors))
        return tuple(result.detach() for result in results)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        leaves = _leaves(ctx.saved_tensors)
        with torch.enable_grad():
            results = ctx.run(*leaves)
        wanted = [leaf for leaf in leaves if leaf.requires_grad]
        reached = [place for place, result in enumerate(results) if result.requires_grad]
        outputs, given = [results[place] for place in reached], [gradients[place] for place in reached]
        found = iter(torch.autograd.grad(outputs, wanted, given, allow_unused=True))
        return None, *(next(found) if leaf.requires_grad else None for leaf in leaves)


def _leaves(tensors: tuple[Tensor, ...]) -> list[Tensor]:
    return [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in tensors]


class _Place:
    """Where a tensor stood."""


def _mapped(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same structure with `change` of each tensor, or of each place of one, in their order."""

    def of_leaf(leaf: Any) -> Any:
        if isinstance(leaf, Tensor) or leaf is _Place:
            return change(leaf)
        if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type):
            other = copy.copy(leaf)  # not made anew, because places are no tensors yet
            vars(other).update(_mapped(vars(leaf), change))
            return other
        if leaf is None or isinstance(leaf, bool | int | float | str):
            return leaf
        raise TypeError(
            f"a {type(leaf).__name__} goes from chunk to chunk; expected tensors and numbers, in tuples, lists, "
            "dictionaries or dataclasses, so that no tensor's gradient is lost"
        )

    return tree_map(of_leaf, value)


def _taken(value: Any) -> tuple[Any, list[Tensor]]:
    """The same structure with a place for each tensor, and the tensors."""
    tensors: list[Tensor] = []
    return _mapped(value, lambda tensor: tensors.append(tensor) or _Place), tensors


def _put(value: Any, tensors: Iterable[Tensor]) -> Any:
    """The structure with the tensors in their places."""
    following = iter(tensors)
    return _mapped(value, lambda _: next(following))
