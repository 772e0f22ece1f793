"""Sliding-window attention backward: the probabilities are computed anew from the log-sum-exp, tile by tile.

    P = exp(S - lse)     dV = P^T dO     dP = dO V^T     dS = P * (dP - delta)     dQ = scale dS K     dK = scale dS^T Q
    delta = <O, dO> - d lse, a number a query: the softmax's Jacobian needs nothing else

One kernel walks the band of each query tile (dQ, and delta on the way), one that of each key tile (dK, dV), whose
band lies after it: queries n0 ... n0 + N - 1 + window - 1, and for a tile with sinks all that follow. All query heads
of a group are added in one program.
"""

import triton
import triton.language as tl

from labkernels.swa.forward import LOG2_E, band, visible


@triton.jit
def dq_tiles(
    b_dq, b_q, b_do, b_lse, b_delta, k, v, stride_kt, stride_vt, o_m, first, last, time, window, sinks, scale,
    N: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr, MASKED: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """dQ / scale of a query tile from keys [first, last)."""
    o_d = tl.arange(0, D)
    for n0 in range(first, last, N):
        o_n = n0 + tl.arange(0, N)
        row, inside = o_n[:, None].to(tl.int64), o_n[:, None] < time
        b_k = tl.load(k + row * stride_kt + o_d[None, :], mask=inside, other=0.0)  # (N, D)
        b_v = tl.load(v + row * stride_vt + o_d[None, :], mask=inside, other=0.0)  # (N, D)
        b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)
        if MASKED:
            seen = visible(o_m[:, None], o_n[None, :], o_n[None, :] < time, window, sinks, SINKS)
            b_s = tl.where(seen, b_s, float("-inf"))
        b_p = tl.exp2(b_s - b_lse[:, None] * LOG2_E)
        b_dp = tl.dot(b_do, tl.trans(b_v), out_dtype=ACC, input_precision="ieee")
        b_ds = b_p * (b_dp - b_delta[:, None])
        b_dq += tl.dot(b_ds.to(b_k.dtype), b_k, out_dtype=ACC, input_precision="ieee")
    return b_dq


@triton.jit(do_not_specialize=["time", "window", "sinks"])
def swa_bwd_dq_kernel(
    q, k, v, o, do, lse, dlse, delta, dq, time, window, sinks, heads, group,
    stride_qb, stride_qh, stride_qt, stride_kb, stride_kh, stride_kt, stride_vb, stride_vh, stride_vt,
    stride_ob, stride_oh, stride_ot, stride_dob, stride_doh, stride_dot, scale,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of queries, batch * heads); dq has the strides of o. Leaves delta (batch, heads, time) behind."""
    m0, bh = tl.program_id(0) * M, tl.program_id(1).to(tl.int64)
    batch, head = bh // heads, bh % heads
    k += batch * stride_kb + head // group * stride_kh
    v += batch * stride_vb + head // group * stride_vh
    o_m, o_d = m0 + tl.arange(0, M), tl.arange(0, D)
    row, inside = o_m[:, None].to(tl.int64), o_m[:, None] < time
    place = batch * stride_ob + head * stride_oh + row * stride_ot + o_d[None, :]
    b_q = tl.load(q + batch * stride_qb + head * stride_qh + row * stride_qt + o_d[None, :], mask=inside, other=0.0)
    b_o = tl.load(o + place, mask=inside, other=0.0)
    b_do = tl.load(
        do + batch * stride_dob + head * stride_doh + row * stride_dot + o_d[None, :], mask=inside, other=0.0
    )
    b_lse = tl.load(lse + bh * time + o_m, mask=o_m < time, other=0.0)
    b_delta = tl.sum(b_o.to(ACC) * b_do.to(ACC), 1) - tl.load(dlse + bh * time + o_m, mask=o_m < time, other=0.0)
    tl.store(delta + bh * time + o_m, b_delta, mask=o_m < time)
    b_dq = tl.full((M, D), 0.0, ACC)
    low, full, diagonal, high = band(m0, time, window, M, N)
    if SINKS:
        b_dq = dq_tiles(
            b_dq, b_q, b_do, b_lse, b_delta, k, v, stride_kt, stride_vt, o_m, 0, tl.minimum(sinks, low), time, window,
            sinks, scale, N, D, ACC, True, SINKS,
        )  # fmt: skip
    b_dq = dq_tiles(
        b_dq, b_q, b_do, b_lse, b_delta, k, v, stride_kt, stride_vt, o_m, low, full, time, window, sinks, scale,
        N, D, ACC, True, SINKS,
    )  # fmt: skip
    b_dq = dq_tiles(
        b_dq, b_q, b_do, b_lse, b_delta, k, v, stride_kt, stride_vt, o_m, full, diagonal, time, window, sinks, scale,
        N, D, ACC, False, SINKS,
    )  # fmt: skip
    b_dq = dq_tiles(
        b_dq, b_q, b_do, b_lse, b_delta, k, v, stride_kt, stride_vt, o_m, diagonal, high, time, window, sinks, scale,
        N, D, ACC, True, SINKS,
    )  # fmt: skip
    tl.store(dq + place, (b_dq * scale).to(dq.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["time", "window", "sinks"])
def swa_bwd_dkv_kernel(
    q, k, v, do, lse, delta, dk, dv, time, window, sinks, heads, group,
    stride_qb, stride_qh, stride_qt, stride_kb, stride_kh, stride_kt, stride_vb, stride_vh, stride_vt,
    stride_dob, stride_doh, stride_dot, stride_dkb, stride_dkh, stride_dkt, scale,
    M: tl.constexpr, N: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr, SINKS: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of keys, batch * kv_heads); dk and dv have the same strides."""
    n0, bh = tl.program_id(0) * N, tl.program_id(1).to(tl.int64)
    kv_heads = heads // group
    batch, kv_head = bh // kv_heads, bh % kv_heads
    o_n, o_d = n0 + tl.arange(0, N), tl.arange(0, D)
    row, inside = o_n[:, None].to(tl.int64), o_n[:, None] < time
    b_k = tl.load(k + batch * stride_kb + kv_head * stride_kh + row * stride_kt + o_d[None, :], mask=inside, other=0.0)
    b_v = tl.load(v + batch * stride_vb + kv_head * stride_vh + row * stride_vt + o_d[None, :], mask=inside, other=0.0)
    b_dk, b_dv = tl.full((N, D), 0.0, ACC), tl.full((N, D), 0.0, ACC)
    last = tl.minimum(n0 + N - 1 + window, time)
    if SINKS:
        last = tl.where(n0 < sinks, time, last)
    for head in range(kv_head * group, (kv_head + 1) * group):
        q_head = q + batch * stride_qb + head * stride_qh
        do_head = do + batch * stride_dob + head * stride_doh
        numbers = (batch * heads + head) * time
        for m0 in range(n0 // M * M, last, M):
            o_m = m0 + tl.arange(0, M)
            seen, place = o_m < time, o_m[:, None].to(tl.int64)
            b_q = tl.load(q_head + place * stride_qt + o_d[None, :], mask=seen[:, None], other=0.0)  # (M, D)
            b_do = tl.load(do_head + place * stride_dot + o_d[None, :], mask=seen[:, None], other=0.0)  # (M, D)
            b_lse = tl.load(lse + numbers + o_m, mask=seen, other=0.0)
            b_delta = tl.load(delta + numbers + o_m, mask=seen, other=0.0)
            # keys come first, (N, M): no tile is transposed after a product, which Hopper compilers got wrong
            b_s = tl.dot(b_k, tl.trans(b_q), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)
            seen_pairs = visible(o_m[None, :], o_n[:, None], o_m[None, :] < time, window, sinks, SINKS)
            b_s = tl.where(seen_pairs, b_s, float("-inf"))
            b_p = tl.exp2(b_s - b_lse[None, :] * LOG2_E)
            b_dv += tl.dot(b_p.to(b_do.dtype), b_do, out_dtype=ACC, input_precision="ieee")
            b_dp = tl.dot(b_v, tl.trans(b_do), out_dtype=ACC, input_precision="ieee")
            b_ds = b_p * (b_dp - b_delta[None, :])
            b_dk += tl.dot(b_ds.to(b_q.dtype), b_q, out_dtype=ACC, input_precision="ieee")
    place = batch * stride_dkb + kv_head * stride_dkh + row * stride_dkt + o_d[None, :]
    tl.store(dk + place, (b_dk * scale).to(dk.dtype.element_ty), mask=inside)
    tl.store(dv + place, b_dv.to(dv.dtype.element_ty), mask=inside)
