"""Losses on logits."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def cross_entropy(
    logits: Float[Tensor, "batch time vocab"],
    targets: Int[Tensor, "batch time"],
    weight: Float[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Mean next-token loss in nats over the positions that count, each by its weight."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weight.flatten()).sum() / weight.sum()
