"""Which implementation an operator takes, and the only door to the Triton kernels (`kernels/`, imported as labkernels).

    auto     Triton where the tensors are on a GPU and the kernel takes them, else torch; never the interpreter
    torch    always torch, on every machine
    plain    torch, by operations that have a second derivative; the fused attention of "torch" has none
    triton   Triton, or a ValueError with the reason; on a CPU only in a process that runs its interpreter

Each function here returns the kernel's output, or None where torch is to compute it.
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
from jaxtyping import Float, Int
from torch import Tensor

Backend = Literal["auto", "torch", "plain", "triton"]
OPERATORS = {
    "sliding-window attention": "labkernels.swa.op",
    "hierarchical sparse attention": "labkernels.hsa.op",
    "selection of chunks": "labkernels.hsa.select",
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


def sliding_window(
    q: Float[Tensor, "batch head time dim"],
    k: Float[Tensor, "batch kv_head time dim"],
    v: Float[Tensor, "batch kv_head time dim"],
    window: int,
) -> Float[Tensor, "batch head time dim"] | None:
    """Causal attention to the last `window` positions."""
    kernel = _kernel("sliding-window attention", q, (q, k, v, window))
    return None if kernel is None else kernel.sliding_window_attention(q, k, v, window)


def hierarchical(
    q: Float[Tensor, "batch kv_head group time dim"],
    k: Float[Tensor, "batch kv_head chunk size dim"],
    v: Float[Tensor, "batch kv_head chunk size dim"],
    chunks: Int[Tensor, "batch kv_head time k"],
    weights: Float[Tensor, "batch kv_head time k"],
    *,
    order: str = "auto",
) -> Float[Tensor, "batch kv_head group time dim"] | None:
    """Sum over the chosen chunks of weight times a softmax inside the chunk; -1 is no chunk.

    `order`: how the kernel goes about it, "queries" or "chunks" (`kernels/hsa/README.md`).
    """
    kernel = _kernel("hierarchical sparse attention", q, (q, k, v, chunks, weights))
    return None if kernel is None else kernel.hierarchical_attention(q, k, v, chunks, weights, order=order)


def best_chunks(
    queries: Float[Tensor, "batch kv_head time dim"],
    landmarks: Float[Tensor, "batch kv_head chunk dim"],
    positions: Int[Tensor, " time"],
    size: int,
    top_k: int,
) -> Int[Tensor, "batch kv_head time k"] | None:
    """The best complete chunks of the past, oldest first, -1 where there are fewer than `top_k`."""
    kernel = _kernel("selection of chunks", queries, (queries, landmarks, size, top_k))
    return None if kernel is None else kernel.select_chunks(queries, landmarks, size, top_k, positions).long()


def teaching_kernel(name: str) -> Any | None:
    """The launcher of a kernel of the lessons, or None without Triton."""
    if importlib.util.find_spec("triton") is None:
        return None
    modules = {"add": "add", "softmax": "softmax", "matmul": "matmul", "flash_attention": "flash"}
    return getattr(importlib.import_module(f"labkernels.lessons.{modules[name]}"), name)


def answers() -> Any:
    """The kernels that the exercises ask for; plain functions, to be read, without Triton."""
    return importlib.import_module("labkernels.lessons.answers")


def _kernel(operator: str, like: Tensor, operands: tuple) -> Any | None:
    """The module of the kernel if it is to compute, else None; ValueError if Triton is wanted and cannot."""
    if not kernels_wanted(like):
        return None
    try:
        if importlib.util.find_spec("triton") is None:
            raise ValueError(f"{operator}: {way_here(operator).reason}. Backend 'torch' can")
        kernel = importlib.import_module(OPERATORS[operator])
        kernel.check(*operands)
    except ValueError as refusal:
        if _wanted.get() == "triton":
            raise
        _log.info("torch computes it: %s", refusal)
        return None
    return kernel
