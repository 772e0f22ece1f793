"""The configurations of the window's kernels, for the compiler: those in production, and the corners of the limits."""

from collections.abc import Iterator

import triton.language as tl

from labkernels.compiled import Build
from labkernels.swa import op
from labkernels.swa.backward import swa_bwd_dkv_kernel, swa_bwd_dq_kernel
from labkernels.swa.forward import swa_fwd_kernel

KINDS = {
    "forward": (swa_fwd_kernel, op.FORWARD),
    "dq": (swa_bwd_dq_kernel, op.FOR_DQ),
    "dk, dv": (swa_bwd_dkv_kernel, op.FOR_DKV),
}
IN_FULL = ("lse", "dlse", "delta")  # fp32 whatever the inputs are
IN_TYPE = ("q", "k", "v", "o", "do", "dq", "dk", "dv")


def builds() -> Iterator[Build]:
    """Each kernel in bf16 with heads of 64 and of 128 on a long text."""
    for dim in (64, 128):
        for kind in KINDS:
            yield build(kind, dim, "bf16", f"swa {kind}, dim {dim}")


def corners() -> Iterator[Build]:
    """The narrowest and the widest heads, the shortest text, fp16; attention sinks with each width."""
    for dim in (64, 128, 256):
        for kind in KINDS:
            yield build(kind, dim, "bf16", f"swa {kind}, dim {dim}, sinks", sinks=True)
    for dim, dtype, time in ((16, "bf16", 16_384), (256, "bf16", 16_384), (64, "bf16", 16), (64, "fp16", 16_384)):
        for kind in KINDS:
            yield build(kind, dim, dtype, f"swa {kind}, dim {dim}, {dtype}, {time} tokens", time)


def build(kind: str, dim: int, dtype: str, name: str, time: int = 16_384, sinks: bool = False) -> Build:
    kernel, choices = KINDS[kind]
    cut = op.fitting(choices, time, dim, sinks)
    types = {tensor: dtype for tensor in IN_TYPE} | {tensor: "fp32" for tensor in IN_FULL}
    return Build(
        name=name,
        kernel=kernel,
        tiles=cut,
        pointers={tensor: kind for tensor, kind in types.items() if tensor in kernel.arg_names},
        constants={"M": cut.queries, "N": cut.keys, "D": dim, "ACC": tl.float32, "SINKS": sinks},
        unaligned=("time", "window", "sinks", "heads", "group"),
    )
