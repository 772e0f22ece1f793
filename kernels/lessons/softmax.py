"""Lesson 2: the softmax of each row, three times.

loop     one number at a time, as one would on paper: three walks through the row
block    the whole row in registers: one load, one store
blocks   rows of any length: the largest number so far and a sum that shrinks when it rises (online softmax,
         arXiv 1805.02867), then a second walk; flash attention is this with one walk
"""

import torch
import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def softmax_loop_kernel(x, out, width):
    """Grid (rows); scalars only."""
    start = tl.program_id(0) * width
    largest, total = -1e30, 0.0
    for i in range(0, width):
        largest = tl.maximum(largest, tl.load(x + start + i))
    for i in range(0, width):
        total += tl.exp(tl.load(x + start + i) - largest)
    for i in range(0, width):
        tl.store(out + start + i, tl.exp(tl.load(x + start + i) - largest) / total)


@triton.jit
def softmax_block_kernel(x, out, width, BLOCK: tl.constexpr):
    """Grid (rows); BLOCK is a power of two, at least the width."""
    start, o = tl.program_id(0) * width, tl.arange(0, BLOCK)
    b_x = tl.load(x + start + o, mask=o < width, other=float("-inf"))
    b_e = tl.exp(b_x - tl.max(b_x, 0))
    tl.store(out + start + o, b_e / tl.sum(b_e, 0), mask=o < width)


@triton.jit
def softmax_blocks_kernel(x, out, width, BLOCK: tl.constexpr):
    """Grid (rows); BLOCK may be less than the width."""
    start = tl.program_id(0) * width
    largest, total = -1e30, 0.0
    for first in range(0, width, BLOCK):
        o = first + tl.arange(0, BLOCK)
        b_x = tl.load(x + start + o, mask=o < width, other=float("-inf"))
        higher = tl.maximum(largest, tl.max(b_x, 0))
        total = total * tl.exp(largest - higher) + tl.sum(tl.exp(b_x - higher), 0)
        largest = higher
    for first in range(0, width, BLOCK):
        o = first + tl.arange(0, BLOCK)
        b_x = tl.load(x + start + o, mask=o < width, other=float("-inf"))
        tl.store(out + start + o, tl.exp(b_x - largest) / total, mask=o < width)


def softmax(x: Tensor, how: str = "blocks", block: int = 128) -> Tensor:
    """Over the last axis of a dense (rows, width) tensor; `how` is loop, block or blocks."""
    out, (height, width) = torch.empty_like(x), x.shape
    if how == "loop":
        softmax_loop_kernel[(height,)](x, out, width)
    elif how == "block":
        softmax_block_kernel[(height,)](x, out, width, BLOCK=triton.next_power_of_2(width))
    elif how == "blocks":
        softmax_blocks_kernel[(height,)](x, out, width, BLOCK=block)
    else:
        raise ValueError(f"how is {how!r}; expected 'loop', 'block' or 'blocks'")
    return out
