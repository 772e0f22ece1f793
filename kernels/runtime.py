"""What all kernels share: what they can take, and how they are launched."""

import contextlib
import math
import os
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETING = os.environ.get("TRITON_INTERPRET") == "1"  # decided when triton is first imported, for the whole process
LOG2_E = math.log2(math.e)
MOST_SHARED = 196_608  # bytes of shared memory that a program of any kernel needs: gate 3 holds them to it
MOST_PROGRAMS = 65_535  # along the second axis of a grid
TRITON_TYPES = {
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float32: tl.float32,
    torch.float64: tl.float64,
}


class Tiles(NamedTuple):
    """How a kernel is cut: rows of queries and of keys to a tile, warps to a program, loads in flight."""

    queries: int
    keys: int
    warps: int = 4
    stages: int = 2


def accumulator(dtype: torch.dtype) -> tl.dtype:
    """Sums are fp32, or fp64 for fp64 inputs (gradcheck)."""
    return TRITON_TYPES[wide(dtype)]


def wide(dtype: torch.dtype) -> torch.dtype:
    """The type that a kernel keeps numbers in between forward and backward."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def check_operands(name: str, **tensors: Tensor) -> None:
    """Raise for what no kernel can take: mixed devices or types, a wrong type, a CPU without the interpreter."""
    devices = {label: tensor.device for label, tensor in tensors.items()}
    if len(set(devices.values())) > 1:
        raise ValueError(f"{name}: {_listed(devices)}; expected one device")
    types = {label: tensor.dtype for label, tensor in tensors.items()}
    if len(set(types.values())) > 1:
        raise ValueError(f"{name}: {_listed(types)}; expected one type")
    (device, *_), (dtype, *_) = devices.values(), types.values()
    if dtype not in TRITON_TYPES:
        raise ValueError(
            f"{name}: the tensors are {dtype}; the kernel takes {_listed(TRITON_TYPES)}. Backend 'torch' can"
        )
    if device.type not in ("cpu", "cuda", "meta"):
        raise ValueError(f"{name}: the tensors are on {device}; Triton runs on CUDA. Backend 'torch' can")
    if device.type == "cpu" and not INTERPRETING:
        raise ValueError(
            f"{name}: the tensors are on the CPU, where Triton only runs in its interpreter (TRITON_INTERPRET=1 before "
            "the first import). Backend 'torch' can"
        )
    if INTERPRETING and dtype == torch.bfloat16:
        raise ValueError(f"{name}: Triton's interpreter computes bfloat16 wrongly. Use float16 or float32 there")
    if not INTERPRETING and dtype not in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"{name}: the tensors are {dtype}; compiled kernels take float16 and bfloat16, which their tiles are made "
            "for (wider types run in Triton's interpreter). Backend 'torch' can"
        )
    if device.type == "cuda" and not INTERPRETING:
        held = torch.cuda.get_device_properties(device).shared_memory_per_block_optin
        if held < MOST_SHARED:
            raise ValueError(
                f"{name}: a program of this GPU has {held:,} bytes of shared memory, the tiles need up to "
                f"{MOST_SHARED:,}. Backend 'torch' can"
            )


def check_programs(name: str, batch: int, heads: int) -> None:
    """Raise for more sequences and heads than the second axis of a grid has programs."""
    if batch * heads > MOST_PROGRAMS:
        raise ValueError(
            f"{name}: {batch} sequences of {heads} heads are {batch * heads:,}; a launch takes {MOST_PROGRAMS:,}. Cut "
            "the batch, or take backend 'torch'"
        )


def check_dim(name: str, size: int, *, least: int = 16, most: int = 256, what: str = "dim") -> None:
    """Raise for a width of the heads, or a chunk, that tensor cores or shared memory cannot take."""
    if size < least or size > most or size & (size - 1):
        raise ValueError(
            f"{name}: {what} is {size}; the kernel takes powers of two from {least} to {most}. Backend 'torch' can"
        )


def rows(tensor: Tensor) -> Tensor:
    """The tensor with its last axis dense, as kernels read it: itself, or a copy."""
    return tensor if tensor.stride(-1) == 1 else tensor.contiguous()


def on_device(tensor: Tensor) -> contextlib.AbstractContextManager:
    """Launch where the tensor is: Triton takes the current GPU, whatever the pointers say."""
    return torch.cuda.device(tensor.device) if tensor.device.type == "cuda" else contextlib.nullcontext()


def programs(count: int, size: int) -> int:
    """How many tiles of `size` cover `count`."""
    return triton.cdiv(count, size)


def _listed(found: dict) -> str:
    return ", ".join(f"{name} {value}" if isinstance(name, str) else f"{name}" for name, value in found.items())
