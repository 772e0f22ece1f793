"""Which implementation an operator takes, and the only door to the Triton kernels (`kernels/`, imported as labkernels).

    auto     Triton where the tensors are on a GPU and the kernel takes them, else torch; never the interpreter
    torch    always torch, on every machine
    plain    torch, by operations that have a second derivative; the fused attention of "torch" has none
    triton   Triton, or a ValueError with the reason; on a CPU only in a process that runs its interpreter

An operator asks `kernel` for its kernel; what the operands are stands in `kernels/`. What kernels and torch share and
needs no Triton is here by name: `inverse_index`, the readers of each chunk, and `once`, the end of differentiating.
"""

import contextlib
import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from labkernels.hsa.inverse import inverse_index as inverse_index
from labkernels.once import once as once

Backend = Literal["auto", "torch", "plain", "triton"]
OPERATORS = {
    "sliding-window attention": "labkernels.swa.op",
    "hierarchical sparse attention": "labkernels.hsa.op",
    "selection of chunks": "labkernels.hsa.select",
    "distillation loss": "labkernels.distillation.op",
}
_wanted: ContextVar[Backend] = ContextVar("backend", default="auto")
_log = logging.getLogger(__name__)


class Way(NamedTuple):
    """The implementation an operator takes, and why."""

    backend: str
    reason: str


@contextlib.contextmanager
def using(backend: Backend) -> Iterator[None]:
    """All operators inside the block take this backend. ValueError for one that does not exist."""
    if backend not in get_args(Backend):
        raise ValueError(f"backend is {backend!r}; expected {', '.join(get_args(Backend))}")
    token = _wanted.set(backend)
    try:
        yield
    finally:
        _wanted.reset(token)


def is_plain() -> bool:
    """Whether operators are to use only operations that can be differentiated twice."""
    return _wanted.get() == "plain"


def kernels_wanted(like: Tensor) -> bool:
    """Whether a kernel is to be tried on such a tensor: a cheap question, before its operands are made."""
    by_itself = like.device.type == "cuda" and os.environ.get("TRITON_INTERPRET") != "1"
    return _wanted.get() == "triton" or (_wanted.get() == "auto" and by_itself)


def no_kernel(operator: str, reason: str) -> None:
    """ValueError where Triton was chosen by name for what no kernel computes."""
    if _wanted.get() == "triton":
        raise ValueError(f"{operator}: {reason}. Backend 'torch' can")


def way_here(operator: str) -> Way:
    """The way that "auto" takes on this machine, for shapes that the kernel can take."""
    if operator not in OPERATORS:
        raise ValueError(f"operator is {operator!r}; expected {', '.join(OPERATORS)}")
    if importlib.util.find_spec("triton") is None:
        return Way("torch", "Triton is not installed (it comes for Linux only)")
    if not torch.cuda.is_available():
        return Way("torch", "no GPU; Triton runs on one")
    if os.environ.get("TRITON_INTERPRET") == "1":
        return Way("torch", "TRITON_INTERPRET=1: the interpreter is taken where it is asked for by name")
    return Way("triton", f"{torch.cuda.get_device_name(0)}, in float16 and bfloat16")


def kernel(operator: str, *operands: Any) -> Any | None:
    """The module of the kernel (`labkernels`) if it is to compute these operands, or None: then torch computes.

    ValueError, with the reason, where Triton was chosen by name and cannot.
    """
    if not kernels_wanted(operands[0]):
        return None
    try:
        if importlib.util.find_spec("triton") is None:
            raise ValueError(f"{operator}: {way_here(operator).reason}. Backend 'torch' can")
        module = importlib.import_module(OPERATORS[operator])
        module.check(*operands)
    except ValueError as refusal:
        if _wanted.get() == "triton":
            raise
        _log.info("torch computes it: %s", refusal)
        return None
    return module


def teaching_kernel(name: str) -> Any | None:
    """The launcher of a kernel of the lessons, or None without Triton."""
    if importlib.util.find_spec("triton") is None:
        return None
    modules = {"add": "add", "softmax": "softmax", "matmul": "matmul", "flash_attention": "flash"}
    return getattr(importlib.import_module(f"labkernels.lessons.{modules[name]}"), name)


def answers() -> Any:
    """The kernels that the exercises ask for; plain functions, to be read, without Triton."""
    return importlib.import_module("labkernels.lessons.answers")
