"""Lesson 3: a matrix product in tiles. Each number that is loaded is used for a whole tile of results."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from labkernels.runtime import accumulator, programs


@triton.jit
def matmul_kernel(
    a, b, c, rows, columns, inner, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr, ACC: tl.constexpr
):  # fmt: skip
    """Grid (tiles of rows, tiles of columns); a (rows, inner), b (inner, columns), dense."""
    o_m = tl.program_id(0) * M + tl.arange(0, M)
    o_n = tl.program_id(1) * N + tl.arange(0, N)
    b_c = tl.full((M, N), 0.0, ACC)
    for k0 in range(0, inner, K):
        o_k = k0 + tl.arange(0, K)
        in_a = (o_m[:, None] < rows) & (o_k[None, :] < inner)
        in_b = (o_k[:, None] < inner) & (o_n[None, :] < columns)
        b_a = tl.load(a + o_m[:, None] * inner + o_k[None, :], mask=in_a, other=0.0)  # (M, K)
        b_b = tl.load(b + o_k[:, None] * columns + o_n[None, :], mask=in_b, other=0.0)  # (K, N)
        b_c += tl.dot(b_a, b_b, out_dtype=ACC, input_precision="ieee")
    in_c = (o_m[:, None] < rows) & (o_n[None, :] < columns)
    tl.store(c + o_m[:, None] * columns + o_n[None, :], b_c.to(c.dtype.element_ty), mask=in_c)


def matmul(a: Tensor, b: Tensor, tiles: tuple[int, int, int] = (128, 128, 64)) -> Tensor:
    """a @ b of dense matrices, in tiles of rows, columns and inner products."""
    (height, inner), width = a.shape, b.shape[1]
    out = torch.empty(height, width, device=a.device, dtype=a.dtype)
    m, n, k = tiles
    matmul_kernel[(programs(height, m), programs(width, n))](
        a, b, out, height, width, inner, M=m, N=n, K=k, ACC=accumulator(a.dtype), num_warps=8
    )
    return out
