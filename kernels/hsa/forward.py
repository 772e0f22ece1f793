"""Hierarchical sparse attention forward: read the chosen chunks, one softmax in each, and add them with their weights.

    O = sum_c w_c O_c,   O_c = softmax(scale Q K_c^T) V_c        (arXiv 2511.23319, section 2.2)

Each chunk has its own softmax, so that partial outputs simply add: no running maximum joins the chunks. Two orders:

    query-major   a program a token: its group of queries reads each of its chunks; a chunk is read once a token
    chunk-major   a program a chunk: it reads the queries that chose it, and adds to their outputs (atomically)

Layout: q (batch, kv_head, group, time, dim), k and v (batch, kv_head, chunk, size, dim), chunks and weights
(batch, kv_head, time, slot); a chunk of -1 is an empty slot.
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit(do_not_specialize=["time"])
def hsa_fwd_queries_kernel(
    q, k, v, chunks, weights, o, lse, time, slots, kv_heads,
    stride_qb, stride_qh, stride_qg, stride_qt, stride_kb, stride_kh, stride_kc, stride_ks,
    stride_vb, stride_vh, stride_vc, stride_vs, stride_ob, stride_oh, stride_og, stride_ot, scale,
    G: tl.constexpr, ROWS: tl.constexpr, S: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (time, batch * kv_heads). lse is (batch, kv_head, time, slot, group), in nats."""
    t, bh = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    batch, head = bh // kv_heads, bh % kv_heads
    o_g, o_s, o_d = tl.arange(0, ROWS).to(tl.int64), tl.arange(0, S), tl.arange(0, D)
    real = o_g < G
    b_q = tl.load(
        q + batch * stride_qb + head * stride_qh + t * stride_qt + o_g[:, None] * stride_qg + o_d[None, :],
        mask=real[:, None], other=0.0,
    )  # (ROWS, D)  # fmt: skip
    k += batch * stride_kb + head * stride_kh
    v += batch * stride_vb + head * stride_vh
    place = (bh * time + t) * slots
    b_o = tl.full((ROWS, D), 0.0, ACC)
    for slot in range(0, slots):
        chunk = tl.load(chunks + place + slot).to(tl.int64)
        weight = tl.load(weights + place + slot).to(ACC)
        chosen = (chunk >= 0) & (o_s[:, None] < S)
        b_k = tl.load(k + chunk * stride_kc + o_s[:, None] * stride_ks + o_d[None, :], mask=chosen, other=0.0)  # (S, D)
        b_v = tl.load(v + chunk * stride_vc + o_s[:, None] * stride_vs + o_d[None, :], mask=chosen, other=0.0)
        b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)  # (ROWS, S)
        b_max = tl.max(b_s, 1)
        b_p = tl.exp2(b_s - b_max[:, None])
        b_sum = tl.sum(b_p, 1)
        b_read = tl.dot(b_p.to(b_v.dtype), b_v, out_dtype=ACC, input_precision="ieee")
        share = tl.where(chunk >= 0, weight, 0.0)
        b_o += b_read * (share / b_sum)[:, None]
        tl.store(lse + (place + slot) * G + o_g, (b_max + tl.log2(b_sum)) / LOG2_E, mask=real)
    o += batch * stride_ob + head * stride_oh + t * stride_ot
    tl.store(o + o_g[:, None] * stride_og + o_d[None, :], b_o.to(o.dtype.element_ty), mask=real[:, None])


@triton.jit
def rows_of_chunk(entries, first, r, inside, slots, G: tl.constexpr):
    """Row r of those that chose a chunk: its entry (token * slots + slot), token and group head."""
    entry = tl.load(entries + first + r // G, mask=inside, other=0).to(tl.int64)
    return entry, entry // slots, (r % G).to(tl.int64)


@triton.jit(do_not_specialize=["time", "num_chunks"])
def hsa_fwd_chunks_kernel(
    q, k, v, weights, entries, offsets, o, lse, time, slots, kv_heads, num_chunks,
    stride_qb, stride_qh, stride_qg, stride_qt, stride_kb, stride_kh, stride_kc, stride_ks,
    stride_vb, stride_vh, stride_vc, stride_vs, stride_ob, stride_oh, stride_og, stride_ot, scale,
    G: tl.constexpr, M: tl.constexpr, S: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (chunks, batch * kv_heads). `o` is in the type of ACC and zero before; the inverse index says who reads."""
    chunk, bh = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    batch, head = bh // kv_heads, bh % kv_heads
    o_s, o_d = tl.arange(0, S), tl.arange(0, D)
    k += batch * stride_kb + head * stride_kh + chunk * stride_kc
    v += batch * stride_vb + head * stride_vh + chunk * stride_vc
    b_k = tl.load(k + o_s[:, None] * stride_ks + o_d[None, :])  # (S, D)
    b_v = tl.load(v + o_s[:, None] * stride_vs + o_d[None, :])  # (S, D)
    q += batch * stride_qb + head * stride_qh
    o += batch * stride_ob + head * stride_oh
    first = tl.load(offsets + bh * num_chunks + chunk)
    count = (tl.load(offsets + bh * num_chunks + chunk + 1) - first).to(tl.int32) * G
    for r0 in range(0, count, M):
        r = r0 + tl.arange(0, M)
        inside = r < count
        entry, t, g = rows_of_chunk(entries, first, r, inside, slots, G)
        b_q = tl.load(
            q + (g * stride_qg + t * stride_qt)[:, None] + o_d[None, :], mask=inside[:, None], other=0.0
        )  # (M, D)  # fmt: skip
        weight = tl.load(weights + bh * time * slots + entry, mask=inside, other=0.0).to(ACC)
        b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=ACC, input_precision="ieee") * (scale * LOG2_E)  # (M, S)
        b_max = tl.max(b_s, 1)
        b_p = tl.exp2(b_s - b_max[:, None])
        b_sum = tl.sum(b_p, 1)
        b_read = tl.dot(b_p.to(b_v.dtype), b_v, out_dtype=ACC, input_precision="ieee") * (weight / b_sum)[:, None]
        tl.store(
            lse + (bh * time * slots + entry) * G + g, (b_max + tl.log2(b_sum)) / LOG2_E, mask=inside
        )  # fmt: skip
        to = o + (g * stride_og + t * stride_ot)[:, None] + o_d[None, :]
        tl.atomic_add(to, b_read, mask=inside[:, None], sem="relaxed")
