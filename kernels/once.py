"""Gradients that are computed by hand, by a kernel or in torch, and that nobody may differentiate again."""

import torch
from torch import Tensor


class _Once(torch.autograd.Function):
    """The identity on a gradient that was computed by hand; it cannot be differentiated again.

    Without it torch takes such a gradient for a constant, and second derivatives lack a term without a word.
    """

    @staticmethod
    def forward(gradient: Tensor, *inputs: Tensor) -> Tensor:
        return gradient.view_as(gradient)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, *gradients):
        raise NotImplementedError(
            "a gradient that a kernel, or a backward pass written by hand, has computed has no second derivative. "
            "Where gradients of gradients are needed, use backend 'plain', or the definitions `attention_reference` "
            "and `attend_dense`"
        )


def once(gradient: Tensor | None, *inputs: Tensor) -> Tensor | None:
    """A gradient computed by hand from `inputs`, whose own derivative raises instead of going missing."""
    return None if gradient is None else _Once.apply(gradient, *inputs)
