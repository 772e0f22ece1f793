"""Gradients inside of functions that are called where torch takes none."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

P, R = ParamSpec("P"), TypeVar("R")


def outside_inference_mode(function: Callable[P, R]) -> Callable[P, R]:
    """Decorator: `torch.inference_mode`, in which no gradient can be taken, is `torch.no_grad` inside the function.

    Tensors among the arguments that were made in inference mode, and so can have no gradient, are copied.
    """

    @functools.wraps(function)
    def outside(*arguments: P.args, **options: P.kwargs) -> R:
        if not torch.is_inference_mode_enabled():
            return function(*arguments, **options)
        with torch.inference_mode(False), torch.no_grad():
            copied = lambda tensor: tensor.clone() if tensor.is_inference() else tensor  # noqa: E731
            arguments, options = tree_map_only(Tensor, copied, (arguments, options))
            return function(*arguments, **options)

    return outside


def refuse_inference_weights(model: nn.Module) -> None:
    """ValueError for a model whose weights were made in inference mode: none of them can have a gradient."""
    if names := [name for name, parameter in model.named_parameters() if parameter.is_inference()]:
        raise ValueError(
            f"{names[0]} was made in torch.inference_mode and can have no gradient; make the model outside"
        )
