"""Distillation loss backward: the probabilities are computed anew from the log-sum-exps, tile by tile.

    q = 2^(b_s - lse_s)     p = 2^(b_t - lse_t)     G = factor (q - p)     dh = unit G V     dV = unit G^T h
    factor    a token's weight over the largest: G, up to 1, keeps clear of the smallest numbers of 16 bits
    unit      one number, in memory: temperature * incoming gradient * largest weight / sum of the weights

One kernel walks the vocabulary for a tile of tokens (dh), one the tokens for a tile of the vocabulary (dV). Each
program has a block of D of the student's width; programs of other blocks compute the same G again.
"""

import triton
import triton.language as tl

from labkernels.distillation.forward import logits


@triton.jit
def difference(b_s, b_lse_s, b_t, b_lse_t, inside):
    """q - p; 0 behind the vocabulary, where the logit 0 may be so far above the log-sum-exp that its power is inf."""
    b_q = tl.exp2(tl.where(inside, b_s - b_lse_s, float("-inf")))
    return b_q - tl.exp2(tl.where(inside, b_t - b_lse_t, float("-inf")))


@triton.jit(do_not_specialize=["tokens", "vocab"])
def distillation_bwd_dh_kernel(
    h, v, t, u, lse_s, lse_t, factor, unit, dh, tokens, vocab, width, its_width,
    stride_h, stride_v, stride_t, stride_u, stride_dh, scale,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of tokens, blocks of the width)."""
    o_m, o_d = tl.program_id(0) * M + tl.arange(0, M), tl.program_id(1) * D + tl.arange(0, D)[None, :]
    b_lse_s = tl.load(lse_s + o_m, mask=o_m < tokens, other=0.0)[:, None]
    b_lse_t = tl.load(lse_t + o_m, mask=o_m < tokens, other=0.0)[:, None]
    b_dh = tl.full((M, D), 0.0, ACC)
    for n0 in range(0, vocab, N):
        o_n = n0 + tl.arange(0, N)
        b_s = logits(h, v, o_m, o_n, tokens, vocab, stride_h, stride_v, width, scale, M, N, K, ACC)
        b_t = logits(t, u, o_m, o_n, tokens, vocab, stride_t, stride_u, its_width, scale, M, N, K, ACC)
        b_g = difference(b_s, b_lse_s, b_t, b_lse_t, o_n[None, :] < vocab)
        row, inside = o_n[:, None].to(tl.int64), (o_n[:, None] < vocab) & (o_d < width)
        b_v = tl.load(v + row * stride_v + o_d, mask=inside, other=0.0)  # (N, D)
        b_dh += tl.dot(b_g.to(b_v.dtype), b_v, out_dtype=ACC, input_precision="ieee")
    b_dh *= tl.load(factor + o_m, mask=o_m < tokens, other=0.0)[:, None] * tl.load(unit)
    place = dh + o_m[:, None].to(tl.int64) * stride_dh + o_d
    tl.store(place, b_dh.to(dh.dtype.element_ty), mask=(o_m[:, None] < tokens) & (o_d < width))


@triton.jit(do_not_specialize=["tokens", "vocab"])
def distillation_bwd_dv_kernel(
    h, v, t, u, lse_s, lse_t, factor, unit, dv, tokens, vocab, width, its_width,
    stride_h, stride_v, stride_t, stride_u, stride_dv, scale,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, D: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of the vocabulary, blocks of the width)."""
    o_n, o_d = tl.program_id(0) * N + tl.arange(0, N), tl.program_id(1) * D + tl.arange(0, D)[None, :]
    b_dv = tl.full((N, D), 0.0, ACC)
    for m0 in range(0, tokens, M):
        o_m = m0 + tl.arange(0, M)
        b_lse_s = tl.load(lse_s + o_m, mask=o_m < tokens, other=0.0)[None, :]
        b_lse_t = tl.load(lse_t + o_m, mask=o_m < tokens, other=0.0)[None, :]
        b_factor = tl.load(factor + o_m, mask=o_m < tokens, other=0.0)[None, :]
        # the vocabulary comes first, (N, M): no tile is transposed after a product, which Hopper compilers got wrong
        b_s = logits(v, h, o_n, o_m, vocab, tokens, stride_v, stride_h, width, scale, N, M, K, ACC)
        b_t = logits(u, t, o_n, o_m, vocab, tokens, stride_u, stride_t, its_width, scale, N, M, K, ACC)
        b_g = difference(b_s, b_lse_s, b_t, b_lse_t, o_n[:, None] < vocab) * b_factor
        row, inside = o_m[:, None].to(tl.int64), (o_m[:, None] < tokens) & (o_d < width)
        b_h = tl.load(h + row * stride_h + o_d, mask=inside, other=0.0)  # (M, D)
        b_dv += tl.dot(b_g.to(b_h.dtype), b_h, out_dtype=ACC, input_precision="ieee")
    place = dv + o_n[:, None].to(tl.int64) * stride_dv + o_d
    b_dv *= tl.load(unit)
    tl.store(place, b_dv.to(dv.dtype.element_ty), mask=(o_n[:, None] < vocab) & (o_d < width))
