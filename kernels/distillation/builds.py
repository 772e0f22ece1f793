"""The configurations of the distillation loss for the compiler: those in production, and the corners of the limits."""

from collections.abc import Iterator

import triton.language as tl

from labkernels.compiled import Build
from labkernels.distillation import op
from labkernels.distillation.backward import distillation_bwd_dh_kernel, distillation_bwd_dv_kernel
from labkernels.distillation.forward import distillation_fwd_kernel

KINDS = {
    "forward": (distillation_fwd_kernel, None),
    "dh": (distillation_bwd_dh_kernel, op.FOR_DH),
    "dv": (distillation_bwd_dv_kernel, op.FOR_DV),
}
IN_FULL = ("kl", "lse_s", "lse_t", "factor", "unit")  # fp32 whatever the operands are
IN_TYPE = ("h", "v", "t", "u", "dh", "dv")


def builds() -> Iterator[Build]:
    """Each kernel in bf16 for students 64, 128 and 256 wide on a long text with a large vocabulary."""
    for width in (64, 128, 256):
        for kind in KINDS:
            if kind != "forward" or width == 64:  # forward walks the width: it is one program for all
                yield build(kind, width, "bf16", f"distillation {kind}, width {width}")


def corners() -> Iterator[Build]:
    """The narrowest student and one token, widths that no tile divides, the smallest vocabulary, fp16."""
    for width, dtype, tokens, vocab in (
        (16, "bf16", 1, 50_257), (112, "bf16", 16_384, 50_257), (1008, "bf16", 16_384, 50_257),
        (256, "bf16", 16_384, 2), (64, "fp16", 16_384, 50_257),
    ):  # fmt: skip
        for kind in KINDS:
            name = f"distillation {kind}, width {width}, {dtype}, {tokens} tokens, {vocab} entries"
            yield build(kind, width, dtype, name, tokens, vocab)


def build(kind: str, width: int, dtype: str, name: str, tokens: int = 16_384, vocab: int = 50_257) -> Build:
    kernel, choices = KINDS[kind]
    block = op.block(width, max(op.FOR_DH))
    cut = op.fitting(choices[max(block, 64)] if choices else op.FORWARD, tokens, vocab)
    known = {"M": cut.queries, "N": cut.keys, "K": op.block(width, op.STEP), "D": block, "ACC": tl.float32}
    types = {name: dtype for name in IN_TYPE} | {name: "fp32" for name in IN_FULL}
    return Build(
        name=name,
        kernel=kernel,
        tiles=cut,
        pointers={each: kind for each, kind in types.items() if each in kernel.arg_names},
        constants={each: value for each, value in known.items() if each in kernel.arg_names},
        unaligned=("tokens", "vocab"),
    )
