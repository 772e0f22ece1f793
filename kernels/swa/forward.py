"""Sliding-window attention forward: one program a tile of queries, online softmax over the tiles of its band.

query tile   [m0, m0 + M)
band         keys m0 - window + 1 ... m0 + M - 1; all other tiles are never loaded
left edge, full, diagonal   the band's three parts: masks are needed in the first and the last only
sinks        the first keys, visible to all: those before the band are a fourth part, [0, min(sinks, low))
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def band(m0, time, window, M: tl.constexpr, N: tl.constexpr):
    """The band of a query tile, cut at tiles of N keys: [low, full) left edge, [full, diagonal), [diagonal, high)."""
    low = tl.maximum(m0 - window + 1, 0) // N * N
    high = tl.minimum(m0 + M, time)
    full = tl.minimum(tl.maximum((tl.maximum(m0 + M - window, 0) + N - 1) // N * N, low), high)
    diagonal = tl.maximum((m0 + 1) // N * N, full)
    return low, full, diagonal, high


@triton.jit
def visible(i, j, inside, window, sinks, SINKS: tl.constexpr):
    """Query i reads key j, inside of the text, where i - window < j <= i, or j <= i is one of the first `sinks`."""
    if SINKS:
        return (j <= i) & ((j > i - window) | (j < sinks)) & inside
    return (j <= i) & (j > i - window) & inside


@triton.jit
def attend_tiles(
    b_o, b_max, b_sum, b_q, k, v, stride_kt, stride_vt, o_m, first, last, time, window, sinks, scale,
    N: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr, MASKED: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """The online softmax over keys [first, last), N at a time; logits are in base 2."""
    o_d = tl.arange(0, D)
    for n0 in range(first, last, N):
        o_n = n0 + tl.arange(0, N)
        row, inside = o_n[:, None].to(tl.int64), o_n[:, None] < time
        b_k = tl.load(k + row * stride_kt + o_d[None, :], mask=inside, other=0.0)  # (N, D)
        b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)  # (M, N)
        if MASKED:
            seen = visible(o_m[:, None], o_n[None, :], o_n[None, :] < time, window, sinks, SINKS)
            b_s = tl.where(seen, b_s, float("-inf"))
        new_max = tl.maximum(b_max, tl.max(b_s, 1))
        b_p = tl.exp2(b_s - new_max[:, None])
        shrink = tl.exp2(b_max - new_max)
        b_sum = b_sum * shrink + tl.sum(b_p, 1)
        b_v = tl.load(v + row * stride_vt + o_d[None, :], mask=inside, other=0.0)  # (N, D)
        b_o = b_o * shrink[:, None] + tl.dot(b_p.to(b_v.dtype), b_v, out_dtype=ACC, input_precision="ieee")
        b_max = new_max
    return b_o, b_max, b_sum


@triton.jit(do_not_specialize=["time", "window", "sinks"])
def swa_fwd_kernel(
    q, k, v, o, lse, time, window, sinks, heads, group,
    stride_qb, stride_qh, stride_qt, stride_kb, stride_kh, stride_kt, stride_vb, stride_vh, stride_vt,
    stride_ob, stride_oh, stride_ot, scale,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of queries, batch * heads). `lse` is (batch, heads, time), in nats."""
    m0, bh = tl.program_id(0) * M, tl.program_id(1).to(tl.int64)
    batch, head = bh // heads, bh % heads
    q += batch * stride_qb + head * stride_qh
    k += batch * stride_kb + head // group * stride_kh
    v += batch * stride_vb + head // group * stride_vh
    o_m, o_d = m0 + tl.arange(0, M), tl.arange(0, D)
    row, inside = o_m[:, None].to(tl.int64), o_m[:, None] < time
    b_q = tl.load(q + row * stride_qt + o_d[None, :], mask=inside, other=0.0)  # (M, D)
    b_o = tl.full((M, D), 0.0, ACC)
    b_max = tl.full((M,), -1e30, ACC)  # finite: a row whose first tiles are all masked must not meet inf - inf
    b_sum = tl.full((M,), 0.0, ACC)
    low, full, diagonal, high = band(m0, time, window, M, N)
    if SINKS:
        b_o, b_max, b_sum = attend_tiles(
            b_o, b_max, b_sum, b_q, k, v, stride_kt, stride_vt, o_m, 0, tl.minimum(sinks, low), time, window, sinks,
            scale, N, D, ACC, True, SINKS,
        )  # fmt: skip
    b_o, b_max, b_sum = attend_tiles(
        b_o, b_max, b_sum, b_q, k, v, stride_kt, stride_vt, o_m, low, full, time, window, sinks, scale,
        N, D, ACC, True, SINKS,
    )  # fmt: skip
    b_o, b_max, b_sum = attend_tiles(
        b_o, b_max, b_sum, b_q, k, v, stride_kt, stride_vt, o_m, full, diagonal, time, window, sinks, scale,
        N, D, ACC, False, SINKS,
    )  # fmt: skip
    b_o, b_max, b_sum = attend_tiles(
        b_o, b_max, b_sum, b_q, k, v, stride_kt, stride_vt, o_m, diagonal, high, time, window, sinks, scale,
        N, D, ACC, True, SINKS,
    )  # fmt: skip
    o += batch * stride_ob + head * stride_oh
    b_sum = tl.where(o_m < time, b_sum, 1.0)  # rows behind the end have seen nothing
    b_o = b_o / b_sum[:, None]
    tl.store(o + row * stride_ot + o_d[None, :], b_o.to(o.dtype.element_ty), mask=inside)
    tl.store(lse + bh * time + o_m, (b_max + tl.log2(b_sum)) / LOG2_E, mask=o_m < time)
