"""The kernels that the puzzles of notebook 07 ask for. Without Triton they can be read and not run."""

try:
    import triton
    import triton.language as tl
except ImportError:
    from types import SimpleNamespace

    triton, tl = SimpleNamespace(jit=lambda function: function), SimpleNamespace(constexpr=int)


@triton.jit
def axpy(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    """out = factor * x + y, where x is a column: its next element lies `stride` further; grid (blocks)."""
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = o < count
    b_x = tl.load(x + o * stride, mask=inside, other=0.0)
    b_y = tl.load(y + o, mask=inside, other=0.0)
    tl.store(out + o, factor * b_x + b_y, mask=inside)


@triton.jit
def outer_sum(x, y, out, rows, columns, M: tl.constexpr, N: tl.constexpr):
    """out[i, j] = x[i] + y[j]; grid (tiles of rows, tiles of columns)."""
    i = tl.program_id(0) * M + tl.arange(0, M)
    j = tl.program_id(1) * N + tl.arange(0, N)
    b_x = tl.load(x + i, mask=i < rows, other=0.0)
    b_y = tl.load(y + j, mask=j < columns, other=0.0)
    inside = (i[:, None] < rows) & (j[None, :] < columns)
    tl.store(out + i[:, None] * columns + j[None, :], b_x[:, None] + b_y[None, :], mask=inside)


@triton.jit
def row_sum(x, out, width, BLOCK: tl.constexpr):
    """The sum of each row, which may be longer than BLOCK; grid (rows)."""
    row, total = tl.program_id(0), tl.full((BLOCK,), 0.0, tl.float32)
    for first in range(0, width, BLOCK):
        o = first + tl.arange(0, BLOCK)
        total += tl.load(x + row * width + o, mask=o < width, other=0.0)
    tl.store(out + row, tl.sum(total, 0))


@triton.jit
def logsumexp(x, out, width, BLOCK: tl.constexpr):
    """The log-sum-exp of each row; grid (rows). BLOCK is at least the width."""
    row, o = tl.program_id(0), tl.arange(0, BLOCK)
    b_x = tl.load(x + row * width + o, mask=o < width, other=float("-inf"))
    largest = tl.max(b_x, 0)
    tl.store(out + row, largest + tl.log(tl.sum(tl.exp(b_x - largest), 0)))


@triton.jit
def long_logsumexp(x, out, width, BLOCK: tl.constexpr):
    """The log-sum-exp of each row in one walk, block by block; grid (rows)."""
    row, largest, total = tl.program_id(0), -1e30, 0.0
    for first in range(0, width, BLOCK):
        o = first + tl.arange(0, BLOCK)
        b_x = tl.load(x + row * width + o, mask=o < width, other=float("-inf"))
        higher = tl.maximum(largest, tl.max(b_x, 0))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(b_x - higher), 0)
        largest = higher
    tl.store(out + row, largest + tl.log(total))


@triton.jit
def product(a, b, c, rows, columns, inner, M: tl.constexpr, N: tl.constexpr, K: tl.constexpr):
    """c = a @ b, a (rows, inner), b (inner, columns); grid (tiles of rows, tiles of columns)."""
    i = tl.program_id(0) * M + tl.arange(0, M)[:, None]
    j = tl.program_id(1) * N + tl.arange(0, N)[None, :]
    b_c = tl.full((M, N), 0.0, tl.float32)
    for first in range(0, inner, K):
        down, across = first + tl.arange(0, K)[:, None], first + tl.arange(0, K)[None, :]
        b_a = tl.load(a + i * inner + across, mask=(i < rows) & (across < inner), other=0.0)
        b_b = tl.load(b + down * columns + j, mask=(down < inner) & (j < columns), other=0.0)
        b_c += tl.dot(b_a, b_b, out_dtype=tl.float32, input_precision="ieee")
    tl.store(c + i * columns + j, b_c, mask=(i < rows) & (j < columns))


@triton.jit
def scores_of_a_tile(q, k, out, time, scale, M: tl.constexpr, D: tl.constexpr):
    """out[i, j] = scale * <q_i, k_j> where j <= i, else -inf; one tile of M queries and M keys; grid (1)."""
    i, j, d = tl.arange(0, M)[:, None], tl.arange(0, M)[None, :], tl.arange(0, D)[None, :]
    b_q = tl.load(q + i * D + d, mask=i < time, other=0.0)
    b_k = tl.load(k + i * D + d, mask=i < time, other=0.0)
    b_s = tl.dot(b_q, tl.trans(b_k), out_dtype=tl.float32, input_precision="ieee") * scale
    tl.store(out + i * time + j, tl.where(j <= i, b_s, float("-inf")), mask=(i < time) & (j < time))


@triton.jit
def attention_kernel(q, k, v, out, time, scale, M: tl.constexpr, N: tl.constexpr, D: tl.constexpr):
    """Causal attention of one head, all (time, D); grid (tiles of queries)."""
    m0 = tl.program_id(0) * M
    i, d = m0 + tl.arange(0, M)[:, None], tl.arange(0, D)[None, :]
    b_q = tl.load(q + i * D + d, mask=i < time, other=0.0)
    b_o, total = tl.full((M, D), 0.0, tl.float32), tl.full((M,), 0.0, tl.float32)
    largest = tl.full((M,), -1e30, tl.float32)
    for n0 in range(0, tl.minimum(m0 + M, time), N):
        j, down = n0 + tl.arange(0, N)[None, :], n0 + tl.arange(0, N)[:, None]
        b_k = tl.load(k + down * D + d, mask=down < time, other=0.0)
        b_v = tl.load(v + down * D + d, mask=down < time, other=0.0)
        b_s = tl.where(
            j <= i, tl.dot(b_q, tl.trans(b_k), out_dtype=tl.float32, input_precision="ieee") * scale, float("-inf")
        )
        higher = tl.maximum(largest, tl.max(b_s, 1))
        b_p, shrink = tl.exp(b_s - higher[:, None]), tl.exp(largest - higher)
        total = total * shrink + tl.sum(b_p, 1)
        b_o = b_o * shrink[:, None] + tl.dot(b_p, b_v, out_dtype=tl.float32, input_precision="ieee")
        largest = higher
    tl.store(out + i * D + d, b_o / total[:, None], mask=i < time)


@triton.jit
def band(q, k, v, out, time, window, scale, M: tl.constexpr, N: tl.constexpr, D: tl.constexpr):
    """The same where query i reads keys i - window < j <= i; tiles that no query of a program reads are skipped."""
    m0 = tl.program_id(0) * M
    i, d = m0 + tl.arange(0, M)[:, None], tl.arange(0, D)[None, :]
    b_q = tl.load(q + i * D + d, mask=i < time, other=0.0)
    b_o, total = tl.full((M, D), 0.0, tl.float32), tl.full((M,), 0.0, tl.float32)
    largest = tl.full((M,), -1e30, tl.float32)
    for n0 in range(tl.maximum(m0 - window + 1, 0) // N * N, tl.minimum(m0 + M, time), N):
        j, down = n0 + tl.arange(0, N)[None, :], n0 + tl.arange(0, N)[:, None]
        b_k = tl.load(k + down * D + d, mask=down < time, other=0.0)
        b_v = tl.load(v + down * D + d, mask=down < time, other=0.0)
        seen = (j <= i) & (j > i - window)
        b_s = tl.where(seen, tl.dot(b_q, tl.trans(b_k), out_dtype=tl.float32, input_precision="ieee") * scale, -1e30)
        higher = tl.maximum(largest, tl.max(b_s, 1))
        b_p, shrink = tl.where(seen, tl.exp(b_s - higher[:, None]), 0.0), tl.exp(largest - higher)
        total = total * shrink + tl.sum(b_p, 1)
        b_o = b_o * shrink[:, None] + tl.dot(b_p, b_v, out_dtype=tl.float32, input_precision="ieee")
        largest = higher
    tl.store(out + i * D + d, b_o / total[:, None], mask=i < time)


@triton.jit
def sinks(q, k, v, out, time, window, kept, scale, M: tl.constexpr, N: tl.constexpr, D: tl.constexpr):
    """The band, and the first `kept` keys of the text for every query; two walks, each tile once."""
    m0 = tl.program_id(0) * M
    i, d = m0 + tl.arange(0, M)[:, None], tl.arange(0, D)[None, :]
    b_q = tl.load(q + i * D + d, mask=i < time, other=0.0)
    b_o, total = tl.full((M, D), 0.0, tl.float32), tl.full((M,), 0.0, tl.float32)
    largest = tl.full((M,), -1e30, tl.float32)
    begin = tl.maximum(m0 - window + 1, 0) // N * N
    ahead = tl.minimum((kept + N - 1) // N * N, begin)  # tiles of sinks that lie before the band
    for step in range(0, ahead + tl.minimum(m0 + M, time) - begin, N):
        n0 = tl.where(step < ahead, step, begin + step - ahead)
        j, down = n0 + tl.arange(0, N)[None, :], n0 + tl.arange(0, N)[:, None]
        b_k = tl.load(k + down * D + d, mask=down < time, other=0.0)
        b_v = tl.load(v + down * D + d, mask=down < time, other=0.0)
        seen = (j <= i) & ((j > i - window) | (j < kept))
        b_s = tl.where(seen, tl.dot(b_q, tl.trans(b_k), out_dtype=tl.float32, input_precision="ieee") * scale, -1e30)
        higher = tl.maximum(largest, tl.max(b_s, 1))
        b_p, shrink = tl.where(seen, tl.exp(b_s - higher[:, None]), 0.0), tl.exp(largest - higher)
        total = total * shrink + tl.sum(b_p, 1)
        b_o = b_o * shrink[:, None] + tl.dot(b_p, b_v, out_dtype=tl.float32, input_precision="ieee")
        largest = higher
    tl.store(out + i * D + d, b_o / total[:, None], mask=i < time)
