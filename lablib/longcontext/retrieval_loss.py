"""A loss that trains retrieval directly: the known chunk of an answer should have the best landmark score.

HSA-UltraLong uses none; the next-token loss alone teaches retrieval there (arXiv 2511.23319, section 2.2). Here it is
an ablation, off by default: does a model with a wide window learn to retrieve if retrieval has a loss of its own?
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lablib.data.batch import Batch
from lablib.longcontext.seesaw import hooked
from lablib.nn.hsa import Retriever
from lablib.ops.fusion import lowest
from lablib.ops.hsa import visible_chunks
from lablib.train.losses import next_token_loss

Objective = Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]


def with_retrieval_loss(share: float) -> Objective:
    """The next-token loss plus `share` times the retrieval loss of every HSA layer (0: the next-token loss)."""
    if not 0 <= share < math.inf:
        raise ValueError(f"the share of the retrieval loss is {share}; expected a number >= 0")
    if share == 0:
        return next_token_loss

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        calls: list[tuple[Retriever, tuple[Any, ...]]] = []
        with hooked(model, Retriever, lambda module, given, out: calls.append((module, given))):
            loss, logits = next_token_loss(model, batch)
        for retriever, (x, landmarks, positions, *_) in calls:
            queries = retriever.queries(x)
            loss = loss + share * retrieval_loss(queries, landmarks, positions, retriever.chunk, batch.evidence)
        return loss, logits

    return objective


def retrieval_loss(
    queries: Float[Tensor, "batch kv_head time dim"],
    landmarks: Float[Tensor, "batch kv_head chunk dim"],
    positions: Int[Tensor, " time"],
    size: int,
    evidence: Int[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Cross-entropy (nats) of the scores over the visible chunks, on the chunk that holds the evidence.

    Mean over the positions whose evidence lies in a chunk that they see, and over heads; 0 where there is none.
    """
    visible = visible_chunks(positions, torch.arange(landmarks.shape[2], device=landmarks.device), size)
    wanted = evidence.clamp(min=0) // size
    counts = (evidence >= 0) & ((wanted + 1) * size <= positions)
    if not bool(counts.any()):
        return queries.sum() * 0.0
    scores = queries @ landmarks.transpose(-2, -1) / math.sqrt(queries.shape[-1])
    scores = scores.masked_fill(~visible, lowest(scores)).movedim(1, 2)[counts]  # (position, head, chunk)
    targets = wanted[counts][:, None].expand(scores.shape[:2])
    return F.cross_entropy(scores.flatten(0, 1), targets.flatten())
