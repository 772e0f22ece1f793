"""The teaching kernels for the notebook; where there is no Triton (macOS) their definitions, and a sentence."""

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from lablib.ops import backend


def add(x: Tensor, y: Tensor, block: int = 1024) -> Tensor:
    """x + y; `block` is the kernel's business."""
    return x + y


def softmax(x: Tensor, how: str = "blocks", block: int = 128) -> Tensor:
    """Over the last axis, whichever way the kernel goes."""
    return x.softmax(-1)


def matmul(a: Tensor, b: Tensor, tiles: tuple[int, int, int] = (128, 128, 64)) -> Tensor:
    """a @ b."""
    return a @ b


def flash_attention(q: Tensor, k: Tensor, v: Tensor, tiles: tuple[int, int] = (64, 64)) -> Tensor:
    """Causal attention, by torch's own."""
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)


DEFINITIONS = {"add": add, "softmax": softmax, "matmul": matmul, "flash_attention": flash_attention}


def lesson(name: str) -> Callable[..., Tensor]:
    """The kernel of that name, or without Triton its definition. ValueError for a name that is none."""
    if name not in DEFINITIONS:
        raise ValueError(f"there is no lesson {name!r}; expected {', '.join(DEFINITIONS)}")
    return backend.teaching_kernel(name) or DEFINITIONS[name]


def language() -> tuple[ModuleType | SimpleNamespace, Any, str]:
    """`triton` and `triton.language`, to write kernels in, and the backend that runs them.

    Without Triton names that let the cells with kernels be read, and the backend "torch".
    """
    if importlib.util.find_spec("triton") is None:
        print("There is no Triton on this machine: kernels are shown, and their definitions run.")
        return SimpleNamespace(jit=lambda function: function), SimpleNamespace(constexpr=int), "torch"
    return importlib.import_module("triton"), importlib.import_module("triton.language"), "triton"
