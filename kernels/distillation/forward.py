"""Distillation loss forward: one program a tile of tokens walks the vocabulary once, for both models together.

h, v        hidden states (tokens, width) and head (vocab, width) of the student
t, u        those of the teacher, (tokens, its_width) and (vocab, its_width)
b_s, b_t    logits of student and teacher over the temperature, in bits: times log2 e, so that 2^ is the exponential
b_gap       sum over the vocabulary of 2^(b_t - max_t) (b_t - b_s), which shrinks with the sum when max_t rises
"""

import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)


@triton.jit
def logits(
    left, right, o_l, o_r, num_l, num_r, stride_l, stride_r, width, scale,
    L: tl.constexpr, R: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Products of L rows of `left` with R rows of `right`, K of the width at a time; 0 for rows beyond the ends."""
    row_l, seen_l = o_l[:, None].to(tl.int64) * stride_l, o_l[:, None] < num_l
    row_r, seen_r = o_r[:, None].to(tl.int64) * stride_r, o_r[:, None] < num_r
    b_z = tl.full((L, R), 0.0, ACC)
    for k0 in range(0, width, K):
        o_k = k0 + tl.arange(0, K)[None, :]
        b_l = tl.load(left + row_l + o_k, mask=seen_l & (o_k < width), other=0.0)  # (L, K)
        b_r = tl.load(right + row_r + o_k, mask=seen_r & (o_k < width), other=0.0)  # (R, K)
        b_z += tl.dot(b_l, tl.trans(b_r), out_dtype=ACC, input_precision="ieee")
    return b_z * scale


@triton.jit
def online(b_z, b_max, b_sum):
    """With one more tile of logits: the maximum, the sum of 2^(b_z - maximum); its terms; the factor of older sums."""
    new_max = tl.maximum(b_max, tl.max(b_z, 1))
    b_p = tl.exp2(b_z - new_max[:, None])
    shrink = tl.exp2(b_max - new_max)
    return new_max, b_sum * shrink + tl.sum(b_p, 1), b_p, shrink


@triton.jit(do_not_specialize=["tokens", "vocab"])
def distillation_fwd_kernel(
    h, v, t, u, kl, lse_s, lse_t, tokens, vocab, width, its_width, stride_h, stride_v, stride_t, stride_u, scale,
    M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr,
):  # fmt: skip
    """Grid (tiles of tokens). `kl` is (tokens) in nats, `lse_s` and `lse_t` (tokens) in bits."""
    o_m = tl.program_id(0) * M + tl.arange(0, M)
    max_s, sum_s = tl.full((M,), float("-inf"), ACC), tl.full((M,), 0.0, ACC)
    max_t, sum_t = tl.full((M,), float("-inf"), ACC), tl.full((M,), 0.0, ACC)
    b_gap = tl.full((M,), 0.0, ACC)
    for n0 in range(0, vocab, N):
        o_n = n0 + tl.arange(0, N)
        inside = o_n[None, :] < vocab
        b_s = logits(h, v, o_m, o_n, tokens, vocab, stride_h, stride_v, width, scale, M, N, K, ACC)
        b_t = logits(t, u, o_m, o_n, tokens, vocab, stride_t, stride_u, its_width, scale, M, N, K, ACC)
        between = b_t - b_s  # before the mask: behind the vocabulary it would be inf - inf
        max_s, sum_s, _, _ = online(tl.where(inside, b_s, float("-inf")), max_s, sum_s)
        max_t, sum_t, b_p, shrink = online(tl.where(inside, b_t, float("-inf")), max_t, sum_t)
        b_gap = b_gap * shrink + tl.sum(b_p * between, 1)
    more_s, more_t = tl.log2(sum_s), tl.log2(sum_t)
    b_kl = b_gap / sum_t + (max_s - max_t) + (more_s - more_t)
    tl.store(kl + o_m, b_kl / LOG2_E, mask=o_m < tokens)
    tl.store(lse_s + o_m, max_s + more_s, mask=o_m < tokens)
    tl.store(lse_t + o_m, max_t + more_t, mask=o_m < tokens)
