"""Hierarchical sparse attention backward: who chose what decides where gradients go.

    dw_c = <O_c, dO> = sum_s P_cs dP_cs     dS_c = w_c P_c * (dP_c - dw_c)     dQ = scale sum_c dS_c K_c
    dV_c = sum over its readers of w_c P_c^T dO                                dK_c = scale sum of dS_c^T Q

The first is what makes the choice learnable: the gradient of a chunk's weight is its own output times dO. It falls off
in the pass for dQ, a number a query and slot, and the pass for dK and dV reads it again. That pass walks, for each
chunk, the tokens that chose it, from an inverse index: no work and no memory of the order of time * chunks.
"""

import triton
import triton.language as tl

from labkernels.hsa.forward import LOG2_E, rows_of_chunk


@triton.jit(do_not_specialize=["time"])
def hsa_bwd_dq_kernel(
    q, k, v, chunks, weights, do, lse, dots, dq, dweights, time, slots, kv_heads,
    stride_qb, stride_qh, stride_qg, stride_qt, stride_kb, stride_kh, stride_kc, stride_ks,
    stride_vb, stride_vh, stride_vc, stride_vs, stride_dob, stride_doh, stride_dog, stride_dot,
    stride_dqb, stride_dqh, stride_dqg, stride_dqt, scale,
    G: tl.constexpr, ROWS: tl.constexpr, S: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (time, batch * kv_heads). Leaves <O_c, dO> behind in `dots` (batch, kv_head, time, slot, group)."""
    t, bh = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    batch, head = bh // kv_heads, bh % kv_heads
    o_g, o_s, o_d = tl.arange(0, ROWS).to(tl.int64), tl.arange(0, S), tl.arange(0, D)
    real = o_g < G
    rows_q = batch * stride_qb + head * stride_qh + t * stride_qt + o_g[:, None] * stride_qg + o_d[None, :]
    rows_do = batch * stride_dob + head * stride_doh + t * stride_dot + o_g[:, None] * stride_dog + o_d[None, :]
    b_q = tl.load(q + rows_q, mask=real[:, None], other=0.0)  # (ROWS, D)
    b_do = tl.load(do + rows_do, mask=real[:, None], other=0.0)  # (ROWS, D)
    k += batch * stride_kb + head * stride_kh
    v += batch * stride_vb + head * stride_vh
    place = (bh * time + t) * slots
    b_dq = tl.full((ROWS, D), 0.0, ACC)
    for slot in range(0, slots):
        chunk = tl.load(chunks + place + slot).to(tl.int64)
        weight = tl.load(weights + place + slot).to(ACC)
        chosen = (chunk >= 0) & (o_s[:, None] < S)
        b_k = tl.load(k + chunk * stride_kc + o_s[:, None] * stride_ks + o_d[None, :], mask=chosen, other=0.0)  # (S, D)
        b_v = tl.load(v + chunk * stride_vc + o_s[:, None] * stride_vs + o_d[None, :], mask=chosen, other=0.0)
        b_lse = tl.load(lse + (place + slot) * G + o_g, mask=real & (chunk >= 0), other=0.0)
        b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)  # (ROWS, S)
        b_p = tl.exp2(b_s - b_lse[:, None] * LOG2_E)
        b_dp = tl.dot(b_do, tl.trans(b_v), out_dtype=ACC, input_precision="ieee")  # (ROWS, S)
        b_dot = tl.sum(b_p * b_dp, 1)
        b_ds = tl.where(chunk >= 0, weight, 0.0) * b_p * (b_dp - b_dot[:, None])
        b_dq += tl.dot(b_ds.to(b_k.dtype), b_k, out_dtype=ACC, input_precision="ieee")
        tl.store(dots + (place + slot) * G + o_g, b_dot, mask=real)
        gain = tl.sum(tl.where(real & (chunk >= 0), b_dot, 0.0), 0)
        tl.store(dweights + place + slot, gain.to(dweights.dtype.element_ty))
    dq += batch * stride_dqb + head * stride_dqh + t * stride_dqt
    tl.store(dq + o_g[:, None] * stride_dqg + o_d[None, :], (b_dq * scale).to(dq.dtype.element_ty), mask=real[:, None])


@triton.jit(do_not_specialize=["time", "num_chunks"])
def hsa_bwd_dkv_kernel(
    q, k, v, weights, entries, offsets, do, lse, dots, dk, dv, time, slots, kv_heads, num_chunks,
    stride_qb, stride_qh, stride_qg, stride_qt, stride_kb, stride_kh, stride_kc, stride_ks,
    stride_vb, stride_vh, stride_vc, stride_vs, stride_dob, stride_doh, stride_dog, stride_dot,
    stride_dkb, stride_dkh, stride_dkc, stride_dks, scale,
    G: tl.constexpr, M: tl.constexpr, S: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (chunks, batch * kv_heads); dk and dv have the same strides. A chunk that nobody chose gets zeros."""
    chunk, bh = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    batch, head = bh // kv_heads, bh % kv_heads
    o_s, o_d = tl.arange(0, S), tl.arange(0, D)
    k += batch * stride_kb + head * stride_kh + chunk * stride_kc
    v += batch * stride_vb + head * stride_vh + chunk * stride_vc
    b_k = tl.load(k + o_s[:, None] * stride_ks + o_d[None, :])  # (S, D)
    b_v = tl.load(v + o_s[:, None] * stride_vs + o_d[None, :])  # (S, D)
    q += batch * stride_qb + head * stride_qh
    do += batch * stride_dob + head * stride_doh
    b_dk, b_dv = tl.full((S, D), 0.0, ACC), tl.full((S, D), 0.0, ACC)
    first = tl.load(offsets + bh * num_chunks + chunk)
    count = (tl.load(offsets + bh * num_chunks + chunk + 1) - first).to(tl.int32) * G
    for r0 in range(0, count, M):
        r = r0 + tl.arange(0, M)
        inside = r < count
        entry, t, g = rows_of_chunk(entries, first, r, inside, slots, G)
        number = bh * time * slots + entry
        b_q = tl.load(q + (g * stride_qg + t * stride_qt)[:, None] + o_d[None, :], mask=inside[:, None], other=0.0)
        b_do = tl.load(do + (g * stride_dog + t * stride_dot)[:, None] + o_d[None, :], mask=inside[:, None], other=0.0)
        weight = tl.load(weights + number, mask=inside, other=0.0).to(ACC)
        b_lse = tl.load(lse + number * G + g, mask=inside, other=0.0)
        b_dot = tl.load(dots + number * G + g, mask=inside, other=0.0)
        # keys come first, (S, M): no tile is transposed after a product
        b_s = tl.dot(b_k, tl.trans(b_q), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)
        b_p = tl.exp2(b_s - b_lse[None, :] * LOG2_E) * weight[None, :]  # rows that are not inside have weight 0
        b_dv += tl.dot(b_p.to(b_do.dtype), b_do, out_dtype=ACC, input_precision="ieee")
        b_dp = tl.dot(b_v, tl.trans(b_do), out_dtype=ACC, input_precision="ieee")
        b_ds = b_p * (b_dp - b_dot[None, :])
        b_dk += tl.dot(b_ds.to(b_q.dtype), b_q, out_dtype=ACC, input_precision="ieee")
    place = batch * stride_dkb + head * stride_dkh + chunk * stride_dkc + o_s[:, None] * stride_dks + o_d[None, :]
    tl.store(dk + place, (b_dk * scale).to(dk.dtype.element_ty))
    tl.store(dv + place, b_dv.to(dv.dtype.element_ty))
