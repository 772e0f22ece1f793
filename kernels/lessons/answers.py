"""The kernels that the exercises of notebook 07 ask for. Without Triton they can be read and not run."""

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
def logsumexp(x, out, width, BLOCK: tl.constexpr):
    """The log-sum-exp of each row; grid (rows). BLOCK is at least the width."""
    row, o = tl.program_id(0), tl.arange(0, BLOCK)
    b_x = tl.load(x + row * width + o, mask=o < width, other=float("-inf"))
    largest = tl.max(b_x, 0)
    tl.store(out + row, largest + tl.log(tl.sum(tl.exp(b_x - largest), 0)))


@triton.jit
def weight_gradient(outputs, upstream, out, D: tl.constexpr):
    """The gradient of a chunk's weight: outputs (slots, D), upstream (D); grid (slots)."""
    slot, o = tl.program_id(0), tl.arange(0, D)
    b_said = tl.load(outputs + slot * D + o)
    tl.store(out + slot, tl.sum(b_said * tl.load(upstream + o), 0))
