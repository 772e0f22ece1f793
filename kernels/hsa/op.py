"""`hierarchical_attention`: the chosen chunks, each with a softmax of its own, added with their weights.

Layout: q (batch, kv_head, group, time, dim), k and v (batch, kv_head, chunk, size, dim), chunks and weights
(batch, kv_head, time, slot). Chunk -1 is an empty slot. Who may choose what (strictly the past) is the selection's
business; the weights are differentiable, and through them the scores.
"""

from typing import Literal

import torch
from torch import Tensor

from labkernels.hsa.launch import backward, forward
from labkernels.once import once
from labkernels.runtime import check_dim, check_operands, check_programs, on_device

NAME = "hierarchical sparse attention"
MOST_HEADS = 64  # of a group: more would not stay in registers
Order = Literal["auto", "queries", "chunks"]


def hierarchical_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    chunks: Tensor,
    weights: Tensor,
    *,
    scale: float | None = None,
    order: Order = "auto",
) -> Tensor:
    """Sum over slots of weight * softmax(scale q k^T) v within the slot's chunk; of q's shape and type.

    `order` says who is read by whom; "auto" follows `better_order`. Scale None is 1 / sqrt(dim). Differentiable once,
    in q, k, v and weights. Raises ValueError for operands that the kernels cannot take.
    """
    check(q, k, v, chunks, weights)
    if order == "auto":
        order = better_order(q.shape[2])
    if order not in ("queries", "chunks"):
        raise ValueError(f"{NAME}: order is {order!r}; expected 'auto', 'queries' or 'chunks'")
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    return HierarchicalAttention.apply(q, k, v, chunks, weights, scale, order == "chunks")[0]


def better_order(group: int) -> Order:
    """Query-major from groups of 16 on, whose rows fill a tile of the tensor cores; smaller ones are padded to 16.

    On an H100 (chunks of 64, 16 384 tokens) a group of 16 is read 3.7 times as fast query-major as chunk-major, a
    group of 1 a sixth as fast; groups between were not timed.
    """
    return "queries" if group >= 16 else "chunks"


def check(q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor) -> None:
    """ValueError, with the reason, for operands that the kernels cannot take."""
    check_operands(NAME, q=q, k=k, v=v)
    check_shapes(q, k, v, chunks, weights)


def check_shapes(q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor) -> None:
    """ValueError for shapes that do not fit, or that no tile covers."""
    batch, kv_heads, _, time, dim = q.shape if q.dim() == 5 else (0,) * 5
    if (
        q.dim() != 5
        or k.dim() != 5
        or k.shape != v.shape
        or (k.shape[0], k.shape[1], k.shape[4]) != (batch, kv_heads, dim)
    ):
        raise ValueError(
            f"{NAME}: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; expected q (batch, kv_head, group, "
            "time, dim), k and v (batch, kv_head, chunk, size, dim)"
        )
    if chunks.shape != weights.shape or chunks.dim() != 4 or chunks.shape[:3] != (batch, kv_heads, time):
        raise ValueError(
            f"{NAME}: chunks {tuple(chunks.shape)}, weights {tuple(weights.shape)}; expected both "
            f"({batch}, {kv_heads}, {time}, slot)"
        )
    if chunks.is_floating_point() or chunks.device != q.device or weights.device != q.device:
        raise ValueError(
            f"{NAME}: chunks are {chunks.dtype} on {chunks.device}, weights on {weights.device}; expected integers, "
            f"both on {q.device}"
        )
    if min(q.shape) < 1 or min(k.shape) < 1 or chunks.shape[-1] < 1:
        raise ValueError(f"{NAME}: an axis is empty (q {tuple(q.shape)}, k {tuple(k.shape)}). Backend 'torch' can")
    check_dim(NAME, dim, most=128)
    check_dim(NAME, k.shape[3], most=128, what="the size of a chunk")
    check_programs(NAME, batch, kv_heads)
    if q.shape[2] > MOST_HEADS or time * chunks.shape[-1] * q.shape[2] >= 2**31:
        raise ValueError(
            f"{NAME}: {q.shape[2]} heads a group, {time} tokens of {chunks.shape[-1]} slots; the kernel takes up to "
            f"{MOST_HEADS} heads and fewer than 2^31 slots of all of them. Backend 'torch' can"
        )


class HierarchicalAttention(torch.autograd.Function):
    """Forward and first derivative; the second raises."""

    @staticmethod
    def forward(q, k, v, chunks, weights, scale: float, by_chunks: bool) -> tuple[Tensor, Tensor]:
        with on_device(q):
            return forward(q, k, v, chunks, weights, scale, by_chunks)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        *tensors, ctx.scale, _ = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*tensors, output[1])

    @staticmethod
    def backward(ctx, do: Tensor, _):
        q, k, v, chunks, weights, lse = ctx.saved_tensors
        with torch.no_grad(), on_device(q):
            dq, dk, dv, dweights = backward(q, k, v, chunks, weights, lse, do, ctx.scale)
        inputs = (q, k, v, weights, do)
        return once(dq, *inputs), once(dk, *inputs), once(dv, *inputs), None, once(dweights, *inputs), None, None
