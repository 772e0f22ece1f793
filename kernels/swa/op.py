"""`sliding_window_attention`: causal attention to the last `window` positions, by Triton kernels.

Layout: q (batch, heads, time, dim), k and v (batch, kv_heads, time, dim); heads a multiple of kv_heads (GQA).
"""

import torch
from torch import Tensor

from labkernels.once import once
from labkernels.runtime import (
    Tiles,
    accumulator,
    check_dim,
    check_operands,
    check_programs,
    on_device,
    programs,
    rows,
    wide,
)
from labkernels.swa.backward import swa_bwd_dkv_kernel, swa_bwd_dq_kernel
from labkernels.swa.forward import swa_fwd_kernel

NAME = "sliding-window attention"
# by the width of the heads: wider ones need more registers and shared memory
FORWARD = {64: Tiles(128, 64, warps=4, stages=3), 128: Tiles(128, 64, warps=8, stages=3), 256: Tiles(64, 32, warps=8)}
FOR_DQ = {64: Tiles(128, 64, warps=8), 128: Tiles(128, 64, warps=8), 256: Tiles(64, 32, warps=8)}
FOR_DKV = {64: Tiles(64, 128, warps=8), 128: Tiles(64, 64, warps=8), 256: Tiles(32, 32, warps=8)}


def sliding_window_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    window: int,
    *,
    sinks: int = 0,
    scale: float | None = None,
    return_lse: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """softmax(scale q k^T) v over keys i - window < j <= i, of q's shape and type; scale None is 1 / sqrt(dim).

    The first `sinks` keys are visible too, from their place on (arXiv 2309.17453). With `return_lse` also the
    log-sum-exp of the logits, (batch, heads, time) in fp32 nats, differentiable too. Raises ValueError for operands
    that the kernels cannot take, and says which backend can.
    """
    check(q, k, v, window, sinks)
    scale = q.shape[3] ** -0.5 if scale is None else scale
    out, lse = SlidingWindowAttention.apply(q, k, v, min(window, q.shape[2]), min(sinks, q.shape[2]), scale)
    return (out, lse) if return_lse else out


def check(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int = 0) -> None:
    """ValueError, with the reason, for operands that the kernels cannot take."""
    check_operands(NAME, q=q, k=k, v=v)
    check_shapes(q, k, v, window, sinks)


def check_shapes(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int = 0) -> None:
    """ValueError for shapes that do not fit, or that no tile covers."""
    if q.dim() != 4 or k.dim() != 4 or k.shape != v.shape or q.shape[::2] != (k.shape[0], k.shape[2]):
        raise ValueError(
            f"{NAME}: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; expected q (batch, heads, time, "
            "dim), k and v (batch, kv_heads, time, dim)"
        )
    if min(*q.shape, *k.shape) < 1:
        raise ValueError(
            f"{NAME}: q is {tuple(q.shape)}, k {tuple(k.shape)}; expected no empty axis. Backend 'torch' can"
        )
    if q.shape[3] != k.shape[3] or q.shape[1] % k.shape[1]:
        raise ValueError(
            f"{NAME}: q has {q.shape[1]} heads of {q.shape[3]}, k {k.shape[1]} of {k.shape[3]}; expected the same dim, "
            "and heads a multiple of kv_heads"
        )
    check_dim(NAME, q.shape[3])
    check_programs(NAME, *q.shape[:2])
    if window < 1 or sinks < 0:
        said = "expected a window of at least 1 (a token always reads itself) and 0 or more sinks"
        raise ValueError(f"{NAME}: window is {window}, sinks {sinks}; {said}")


class SlidingWindowAttention(torch.autograd.Function):
    """Forward and first derivative; the second raises."""

    @staticmethod
    def forward(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int, scale: float) -> tuple[Tensor, Tensor]:
        with on_device(q):
            return forward(q, k, v, window, sinks, scale)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        q, k, v, ctx.window, ctx.sinks, ctx.scale = inputs
        ctx.save_for_backward(q, k, v, *output)

    @staticmethod
    def backward(ctx, do: Tensor, dlse: Tensor):
        q, k, v, o, lse = ctx.saved_tensors
        with torch.no_grad(), on_device(q):
            gradients = backward(q, k, v, o, lse, do, dlse, ctx.window, ctx.sinks, ctx.scale)
        return *(once(gradient, q, k, v, do, dlse) for gradient in gradients), None, None, None


def forward(
    q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int, scale: float, tiles: Tiles | None = None
) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp."""
    q, k, v, acc = rows(q), rows(k), rows(v), accumulator(q.dtype)
    batch, heads, time, dim = q.shape
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    lse = torch.empty(batch, heads, time, device=q.device, dtype=wide(q.dtype))
    tiles = tiles or fitting(FORWARD, time, dim, sinks > 0)
    swa_fwd_kernel[(programs(time, tiles.queries), batch * heads)](
        q, k, v, out, lse, time, window, sinks, heads, heads // k.shape[1], *_strides(q, k, v, out), scale,
        M=tiles.queries, N=tiles.keys, D=dim, ACC=acc, SINKS=sinks > 0, num_warps=tiles.warps,
        num_stages=tiles.stages,
    )  # fmt: skip
    return out, lse


def backward(
    q: Tensor, k: Tensor, v: Tensor, o: Tensor, lse: Tensor, do: Tensor, dlse: Tensor, window: int, sinks: int,
    scale: float, tiles: tuple[Tiles, Tiles] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of q, k and v."""
    q, k, v, do, dlse, acc = rows(q), rows(k), rows(v), rows(do), dlse.contiguous(), accumulator(q.dtype)
    batch, heads, time, dim = q.shape
    kv_heads = k.shape[1]
    group, delta = heads // kv_heads, torch.empty_like(lse)
    dq, dk, dv = (torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    for_dq, for_dkv = tiles or (fitting(FOR_DQ, time, dim, sinks > 0), fitting(FOR_DKV, time, dim))
    swa_bwd_dq_kernel[(programs(time, for_dq.queries), batch * heads)](
        q, k, v, o, do, lse, dlse, delta, dq, time, window, sinks, heads, group, *_strides(q, k, v, o, do), scale,
        M=for_dq.queries, N=for_dq.keys, D=dim, ACC=acc, SINKS=sinks > 0, num_warps=for_dq.warps,
        num_stages=for_dq.stages,
    )  # fmt: skip
    swa_bwd_dkv_kernel[(programs(time, for_dkv.keys), batch * kv_heads)](
        q, k, v, do, lse, delta, dk, dv, time, window, sinks, heads, group, *_strides(q, k, v, do, dk), scale,
        M=for_dkv.queries, N=for_dkv.keys, D=dim, ACC=acc, SINKS=sinks > 0, num_warps=for_dkv.warps,
        num_stages=for_dkv.stages,
    )  # fmt: skip
    return dq, dk, dv


def fitting(choices: dict[int, Tiles], time: int, dim: int, sinks: bool = False) -> Tiles:
    """The tiles for a width of the heads, cut down where the text is shorter; smaller where sinks would not fit."""
    tiles = choices[max(dim, 64)]
    if sinks and choices is FORWARD:
        tiles = tiles._replace(warps=8)
    elif sinks and choices is FOR_DQ and dim > 128:
        tiles = tiles._replace(queries=32, warps=4)
    most = max(16, 1 << (time - 1).bit_length())
    return tiles._replace(queries=min(tiles.queries, most), keys=min(tiles.keys, most))


def _strides(*tensors: Tensor) -> tuple[int, ...]:
    """Batch, head and time of each."""
    return tuple(stride for tensor in tensors for stride in tensor.stride()[:3])
