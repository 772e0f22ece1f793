"""Choosing chunks: scores and top-k in one kernel, so that the matrix of time x chunks scores is never in memory.

A tile of queries walks the landmarks, keeps its best in registers, and writes indices alone; scores that need a
gradient are computed again for the chosen (`lablib.ops.hsa`). A score and its chunk are packed into one integer, the
score's bits above: integers then sort as scores do, and equal scores go to the older chunk.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from labkernels.runtime import Tiles, accumulator, check_dim, check_operands, check_programs, on_device, programs, rows

NAME = "selection of chunks"
TILES = Tiles(32, 64, warps=4, stages=2)
NOBODY = tl.constexpr(-(2**63))


@triton.jit
def packed(b_s, chunk):
    """(M, N) scores and (1, N) chunks as int64 that sort like the scores; lower chunks before equal ones."""
    bits = b_s.to(tl.int32, bitcast=True)
    bits = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # of negative floats larger bits are smaller numbers
    return (bits.to(tl.int64) << 32) | (0x7FFFFFFF - chunk).to(tl.int64)


@triton.jit(do_not_specialize=["time", "num_chunks"])
def hsa_select_kernel(
    q, landmarks, positions, chosen, time, num_chunks, size, kv_heads,
    stride_qb, stride_qh, stride_qt, stride_lb, stride_lh, stride_lc,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, K: tl.constexpr, KEPT: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of queries, batch * kv_heads). KEPT is a power of two, at least K and at most N."""
    m0, bh = tl.program_id(0) * M, tl.program_id(1).to(tl.int64)
    batch, head = bh // kv_heads, bh % kv_heads
    o_m, o_d = m0 + tl.arange(0, M), tl.arange(0, D)
    b_q = tl.load(
        q + batch * stride_qb + head * stride_qh + o_m[:, None].to(tl.int64) * stride_qt + o_d[None, :],
        mask=o_m[:, None] < time, other=0.0,
    )  # (M, D)  # fmt: skip
    landmarks += batch * stride_lb + head * stride_lh
    best = tl.full((M, KEPT), NOBODY, tl.int64)
    b_t = tl.load(positions + o_m, mask=o_m < time, other=0)
    complete = tl.minimum(tl.max(b_t, 0) // size, num_chunks)  # before the last query of the tile
    for c0 in range(0, complete, N):
        o_c = c0 + tl.arange(0, N)
        b_l = tl.load(
            landmarks + o_c[:, None].to(tl.int64) * stride_lc + o_d[None, :], mask=o_c[:, None] < num_chunks, other=0.0
        )  # (N, D)  # fmt: skip
        b_s = tl.dot(b_q, tl.trans(b_l), out_dtype=ACC, input_precision="ieee").to(tl.float32)  # (M, N)
        past = ((o_c[None, :] + 1) * size <= b_t[:, None]) & (o_c[None, :] < num_chunks)
        fresh = tl.topk(tl.where(past, packed(b_s, o_c[None, :]), NOBODY), KEPT)  # (M, KEPT)
        best = tl.topk(tl.reshape(tl.join(best, fresh), (M, 2 * KEPT)), KEPT)
    slot = tl.arange(0, KEPT)[None, :]
    nowhere = 0x7FFFFFFF
    chunk = tl.where((best == NOBODY) | (slot >= K), nowhere, 0x7FFFFFFF - (best & 0x7FFFFFFF).to(tl.int32))
    chunk = tl.sort(chunk)  # oldest first, empty slots last
    place = chosen + (bh * time + o_m[:, None]) * K + slot
    tl.store(place, tl.where(chunk == nowhere, -1, chunk), mask=(o_m[:, None] < time) & (slot < K))


def select_chunks(q: Tensor, landmarks: Tensor, size: int, top_k: int, positions: Tensor | None = None) -> Tensor:
    """The `top_k` best-scoring complete chunks of the past of each query, oldest first, -1 where there are fewer.

    q (batch, kv_head, time, dim), landmarks (batch, kv_head, chunk, dim); int32 (batch, kv_head, time, top_k). The
    token at position t (by default its place) may choose chunk c where (c + 1) * size <= t. Equal scores go to the
    older chunk. Not differentiable. Raises ValueError for operands that the kernel cannot take.
    """
    check(q, landmarks, size, top_k)
    q, landmarks = rows(q.detach()), rows(landmarks.detach())
    batch, kv_heads, time, dim = q.shape
    positions = torch.arange(time, device=q.device) if positions is None else positions
    if positions.shape != (time,) or positions.is_floating_point():
        came = f"{positions.dtype} {tuple(positions.shape)}"
        raise ValueError(f"{NAME}: positions are {came}; expected integers ({time},)")
    positions = positions.to(q.device, torch.int32).contiguous()
    chosen = torch.empty(batch, kv_heads, time, top_k, device=q.device, dtype=torch.int32)
    tiles = fitting(dim, top_k)
    with on_device(q):
        hsa_select_kernel[(programs(time, tiles.queries), batch * kv_heads)](
            q, landmarks, positions, chosen, time, landmarks.shape[2], size, kv_heads, *q.stride()[:3],
            *landmarks.stride()[:3], M=tiles.queries, N=tiles.keys, D=dim, K=top_k,
            KEPT=triton.next_power_of_2(top_k), ACC=accumulator(q.dtype), num_warps=tiles.warps,
            num_stages=tiles.stages,
        )  # fmt: skip
    return chosen


def fitting(dim: int, top_k: int) -> Tiles:
    """The tiles: at least as many landmarks as are kept; twice the warps for the widest heads."""
    warps = TILES.warps * (2 if dim > 128 else 1)
    return TILES._replace(keys=max(TILES.keys, triton.next_power_of_2(top_k)), warps=warps)


def check(q: Tensor, landmarks: Tensor, size: int, top_k: int) -> None:
    """ValueError, with the reason, for operands that the kernel cannot take."""
    check_operands(NAME, q=q, landmarks=landmarks)
    check_shapes(q, landmarks, size, top_k)


def check_shapes(q: Tensor, landmarks: Tensor, size: int, top_k: int) -> None:
    """ValueError for shapes that do not fit, or that no tile covers."""
    if q.dim() != 4 or landmarks.dim() != 4 or (*q.shape[:2], q.shape[3]) != (*landmarks.shape[:2], landmarks.shape[3]):
        raise ValueError(
            f"{NAME}: q {tuple(q.shape)}, landmarks {tuple(landmarks.shape)}; expected (batch, kv_head, time, dim) and "
            "(batch, kv_head, chunk, dim)"
        )
    if min(q.shape) < 1:
        raise ValueError(f"{NAME}: q is {tuple(q.shape)}; expected no empty axis. Backend 'torch' can")
    check_dim(NAME, q.shape[3])
    check_programs(NAME, *q.shape[:2])
    if not 1 <= top_k <= 64 or size < 1:
        raise ValueError(
            f"{NAME}: top_k is {top_k} of chunks of {size}; the kernel takes top_k from 1 to 64, size from 1"
        )
