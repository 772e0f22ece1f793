"""What an operator has to do at least: FLOPs, and bytes that must cross a memory's border. Closed forms, no tensors.

The floor of a time is the larger of FLOPs over the matrix units' rate and bytes over the bandwidth (the roofline,
Williams et al., CACM 2009). Backward counts the gradients' own five products; what a kernel computes again is its own
business, so that floors do not depend on who computes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from lablib.core.config import Config

Operator = Literal["sliding window", "chosen chunks", "selection"]
Mode = Literal["forward", "forward and backward"]
BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, kw_only=True)
class Shape(Config):
    """Operands, in tokens and heads. `chunk` (tokens) and `top_k` (chunks) count where chunks are chosen."""

    batch: int = 1
    heads: int = 16
    kv_heads: int = 16
    time: int = 4096
    dim: int = 64
    window: int = 512
    chunk: int = 64
    top_k: int = 16

    limits: ClassVar = {"at least 1": "batch heads kv_heads time dim window chunk top_k"}

    def faults(self) -> Iterator[tuple[int, str]]:
        yield self.heads % self.kv_heads, f"heads is {self.heads}; expected a multiple of kv_heads={self.kv_heads}"


class Work(NamedTuple):
    """FLOPs; bytes to and from main memory; bytes that a query-major kernel gathers from the cache, 0 if none."""

    flops: float
    bytes: float
    gathered: float = 0.0


def work(operator: Operator, mode: Mode, shape: Shape, dtype: str) -> Work:
    """The least that an operator has to do. ValueError for a backward of the selection."""
    least = {"sliding window": window_work, "chosen chunks": chunks_work, "selection": selection_work}[operator]
    return least(shape, mode == "forward and backward", BYTES[dtype])


def window_work(shape: Shape, backward: bool, size: int) -> Work:
    """Causal attention to the last `window` positions: 4 D FLOPs a pair and head, backward 10 D."""
    window = min(shape.window, shape.time)
    pairs = shape.time * window - window * (window - 1) // 2
    flops = shape.batch * shape.heads * shape.dim * pairs * (14 if backward else 4)
    return Work(float(flops), _attention_bytes(shape, backward, size))


def chunks_work(shape: Shape, backward: bool, size: int) -> Work:
    """A softmax in each chosen chunk: as many as there are complete ones before a token, up to top-k."""
    slots = filled_slots(shape)
    keys = slots * shape.chunk
    flops = shape.batch * shape.heads * shape.dim * keys * (14 if backward else 4)
    choice = 8 * shape.batch * shape.kv_heads * shape.time * shape.top_k  # an index and a weight a slot
    between = 8 * shape.batch * shape.heads * shape.time * shape.top_k if backward else 0  # log-sum-exp, there and back
    gathered = 2 * size * shape.batch * shape.kv_heads * keys * shape.dim * (2 if backward else 1)
    moved = _attention_bytes(shape, backward, size) + choice * (2 if backward else 1) + between
    return Work(float(flops), moved, float(gathered))


def selection_work(shape: Shape, backward: bool, size: int) -> Work:
    """Scores against all complete chunks of the past, one head of queries a kv head; the result is indices alone."""
    if backward:
        raise ValueError("the selection has no backward: its indices have no gradient")
    pairs = sum(min(t // shape.chunk, shape.time // shape.chunk) for t in range(shape.time))
    heads = shape.batch * shape.kv_heads
    flops = 2 * heads * shape.dim * pairs
    moved = size * heads * shape.dim * (shape.time + shape.time // shape.chunk) + 4 * heads * shape.time * shape.top_k
    return Work(float(flops), float(moved))


def filled_slots(shape: Shape) -> int:
    """Chosen chunks over all tokens of a text."""
    return sum(min(shape.top_k, t // shape.chunk) for t in range(shape.time))


def _attention_bytes(shape: Shape, backward: bool, size: int) -> float:
    """Each operand and result once: q, o and k, v; backward those again with their gradients, and a number a query."""
    operands = shape.batch * shape.time * shape.dim * (shape.heads + shape.kv_heads)
    numbers = 4 * shape.batch * shape.time * shape.heads
    forward = 2 * size * operands + numbers
    return float(forward + (4 * size * operands + 2 * numbers if backward else 0))
