"""Weights that learn while a text is read: one gradient step, for each sequence of a batch on its own.

Fast weights are tensors with a batch axis in front. A step is differentiable itself: training through it needs the
gradient of a gradient (arXiv 2512.23675, section 2.2), and everything inside it must have one.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_map_only

from lablib.ops.precision import wide

Fast = dict[str, Float[Tensor, "batch ..."]]
# what the outer gradient sees of a step: all of it, all but the Hessian (FOMAML), nothing (the text is only read)
Order = Literal["exact", "first", "none"]


def per_sequence(weights: Mapping[str, Tensor], batch: int) -> Fast:
    """The same weights for each sequence, as a view: the first step makes them differ."""
    return {name: weight.expand(batch, *weight.shape) for name, weight in weights.items()}


def clip_factor(gradients: list[Float[Tensor, "batch ..."]], most: float) -> Float[Tensor, " batch"]:
    """What to multiply each sequence's gradients by, so that their joint norm is at most `most`; never in 16 bits."""
    gradients = [wide(gradient) for gradient in gradients]
    if math.isinf(most):
        return gradients[0].new_ones(len(gradients[0]))
    squares = sum(gradient.flatten(1).square().sum(1) for gradient in gradients)
    return most / squares.clamp_min(most**2).sqrt()  # clamped first: the root has no derivative at 0


def inner_step(
    fast: Fast,
    loss: Callable[[Fast], tuple[Float[Tensor, " batch"], Any]],
    rate: float | Float[Tensor, ""],
    *,
    clip: float = math.inf,
    order: Order = "exact",
) -> tuple[Fast, Any]:
    """W - rate * clip(grad loss(W)), sequence by sequence, and what else `loss` returns (tensors, in lists or tuples).

    With order "none" nothing of it keeps a graph. Frozen weights learn too; the outer gradient ends at them. Raises
    torch's RuntimeError where the loss does not depend on the weights, and where an operation inside says that it has
    no second derivative.
    """
    if order == "none":
        with torch.enable_grad():
            fast = {name: weight.detach().requires_grad_() for name, weight in fast.items()}
            losses, rest = loss(fast)
            gradients = list(torch.autograd.grad(losses.sum(), list(fast.values())))
        fast = {name: weight.detach() for name, weight in fast.items()}
        # fast weights inside (of a KVB layer, in dictionaries) are differentiated again by their own next step
        rest = tree_map_only(Tensor, Tensor.detach, rest, is_leaf=lambda part: isinstance(part, dict))
    else:
        fast = {name: w if w.requires_grad else w.detach().requires_grad_() for name, w in fast.items()}
        losses, rest = loss(fast)
        exact = order == "exact"
        gradients = list(torch.autograd.grad(losses.sum(), list(fast.values()), create_graph=exact, retain_graph=True))
    factor = rate * clip_factor(gradients, clip)
    steps = (gradient * factor.view(-1, *[1] * (gradient.ndim - 1)) for gradient in gradients)
    return {
        name: weight - step.to(weight.dtype) for (name, weight), step in zip(fast.items(), steps, strict=True)
    }, rest
