"""What a training step reads: tokens, what should follow each, and how much each prediction counts."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Batch(NamedTuple):
    """`weight` is 0 where a prediction does not count; `evidence` is the position that an answer rests on, else -1."""

    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    weight: Float[Tensor, "batch time"]
    evidence: Int[Tensor, "batch time"]


def rows_of(batch: Batch, places: Any) -> Batch:
    """Some of the rows: a slice, or the numbers of the rows."""
    return Batch(*(column[places] for column in batch))


def joined(parts: Sequence[Batch]) -> Batch:
    """The rows of all parts, one part after the other."""
    return Batch(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def every_next(tokens: Int[Tensor, "batch time_and_one"]) -> Batch:
    """Rows in which every next token counts; the last token is a target only."""
    targets = tokens[:, 1:]
    return Batch(tokens[:, :-1], targets, torch.ones(targets.shape), torch.full(targets.shape, -1))
