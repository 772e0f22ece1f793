"""The production configurations, for the compiler."""

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


def builds(dtype: str = "bf16") -> Iterator[Build]:
    """Each kernel with heads of 64 and of 128 on a long text."""
    for dim in (64, 128):
        for kind, (kernel, choices) in KINDS.items():
            cut = op.fitting(choices, 16_384, dim)
            tensors = [
                name for name in kernel.arg_names if name in ("q", "k", "v", "o", "do", "dq", "dk", "dv", *IN_FULL)
            ]
            yield Build(
                name=f"swa {kind}, dim {dim}",
                kernel=kernel,
                tiles=cut,
                pointers={name: "fp32" if name in IN_FULL else dtype for name in tensors},
                constants={"M": cut.queries, "N": cut.keys, "D": dim, "ACC": tl.float32},
                unaligned=("time", "window", "heads", "group"),
            )
