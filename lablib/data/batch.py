"""What a training step reads: tokens, what should follow each, and how much each prediction counts."""

from typing import NamedTuple

from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """`weight` is 0 where a prediction does not count; `evidence` is the position that an answer rests on, else -1."""

    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    weight: Float[Tensor, "batch time"]
    evidence: Int[Tensor, "batch time"]
