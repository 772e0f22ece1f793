"""The teaching kernels for the notebook; where there is no Triton (macOS) their definitions, and a sentence."""

import importlib
import importlib.util
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import plotly.graph_objects as go
import torch.nn.functional as F
from torch import Tensor

from lablib.ops import backend
from lablib.speed import lanes
from lablib.viz.chart import missing

DEFINITIONS: dict[str, Callable[..., Tensor]] = {  # how a kernel cuts its blocks is no business of a definition
    "add": lambda x, y, block=1024: x + y,
    "softmax": lambda x, how="blocks", block=128: x.softmax(-1),
    "matmul": lambda a, b, tiles=(128, 128, 64): a @ b,
    "flash_attention": lambda q, k, v, tiles=(64, 64): F.scaled_dot_product_attention(q, k, v, is_causal=True),
}


def lesson(name: str) -> Callable[..., Tensor]:
    """The kernel of that name, or without Triton its definition. ValueError for a name that is none."""
    if name not in DEFINITIONS:
        raise ValueError(f"there is no lesson {name!r}; expected {', '.join(DEFINITIONS)}")
    return backend.teaching_kernel(name) or DEFINITIONS[name]


def lanes_of_add(x: Tensor, y: Tensor, block: int) -> go.Figure:
    """What each program of the lesson on adding touches; without Triton an empty picture that says so."""
    if backend.teaching_kernel("add") is None:
        return missing("There is no Triton on this machine: no picture of lanes.")
    with lanes.recorded() as seen:
        out = lesson("add")(x, y, block=block)
    return lanes.lanes_figure(seen, {"x": x, "y": y, "out": out})


def language() -> tuple[ModuleType | SimpleNamespace, Any, str]:
    """`triton` and `triton.language`, to write kernels in, and the backend that runs them.

    Without Triton names that let the cells with kernels be read, and the backend "torch".
    """
    if importlib.util.find_spec("triton") is None:
        print("There is no Triton on this machine: kernels are shown, and their definitions run.")
        return SimpleNamespace(jit=lambda function: function), SimpleNamespace(constexpr=int), "torch"
    return importlib.import_module("triton"), importlib.import_module("triton.language"), "triton"
