"""Lesson 4: attention without its matrix (flash attention, arXiv 2205.14135, forward): online softmax over tiles."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from labkernels.runtime import accumulator, programs


@triton.jit
def flash_kernel(
    q, k, v, out, time, scale, M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr
):  # fmt: skip
    """Grid (tiles of queries, heads); all (head, time, dim), dense; causal."""
    m0, head = tl.program_id(0) * M, tl.program_id(1).to(tl.int64) * time * D
    o_m, o_d = m0 + tl.arange(0, M), tl.arange(0, D)
    b_q = tl.load(q + head + o_m[:, None] * D + o_d[None, :], mask=o_m[:, None] < time, other=0.0)  # (M, D)
    b_o, largest, total = tl.full((M, D), 0.0, ACC), tl.full((M,), -1e30, ACC), tl.full((M,), 0.0, ACC)
    for n0 in range(0, tl.minimum(m0 + M, time), N):
        o_n = n0 + tl.arange(0, N)
        inside = o_n[:, None] < time
        b_k = tl.load(k + head + o_n[:, None] * D + o_d[None, :], mask=inside, other=0.0)  # (N, D)
        b_v = tl.load(v + head + o_n[:, None] * D + o_d[None, :], mask=inside, other=0.0)  # (N, D)
        b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=ACC, input_precision="ieee") * scale  # (M, N)
        b_s = tl.where(o_n[None, :] <= o_m[:, None], b_s, float("-inf"))
        higher = tl.maximum(largest, tl.max(b_s, 1))
        b_p, shrink = tl.exp(b_s - higher[:, None]), tl.exp(largest - higher)
        total = total * shrink + tl.sum(b_p, 1)
        b_o = b_o * shrink[:, None] + tl.dot(b_p.to(b_v.dtype), b_v, out_dtype=ACC, input_precision="ieee")
        largest = higher
    b_o = b_o / total[:, None]
    tl.store(out + head + o_m[:, None] * D + o_d[None, :], b_o.to(out.dtype.element_ty), mask=o_m[:, None] < time)


def flash_attention(q: Tensor, k: Tensor, v: Tensor, tiles: tuple[int, int] = (64, 64)) -> Tensor:
    """Causal softmax(q k^T / sqrt(dim)) v of dense (head, time, dim) tensors."""
    out, (heads, time, dim) = torch.empty_like(q), q.shape
    flash_kernel[(programs(time, tiles[0]), heads)](
        q, k, v, out, time, dim**-0.5, M=tiles[0], N=tiles[1], D=dim, ACC=accumulator(q.dtype)
    )
    return out
