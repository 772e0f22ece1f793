"""Losses on logits."""

from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lablib.data.batch import Batch


def cross_entropy(
    logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"], weight: Float[Tensor, "batch time"]
) -> Float[Tensor, ""]:
    """Mean next-token loss in nats over the positions that count, each by its weight."""
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weight.flatten()).sum() / weight.sum()


def next_token_loss(model: nn.Module, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, "batch time vocab"]]:
    """The loss of a batch, and the logits it was taken of."""
    logits = model(batch.tokens)
    return cross_entropy(logits, batch.targets, batch.weight), logits


def with_auxiliary(weight: float) -> Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]:
    """The next-token loss plus `weight` times the sum of what layers return as auxiliary losses."""
    if not weight >= 0:
        raise ValueError(f"the weight of the auxiliary losses is {weight}; expected a number >= 0")

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, _, losses = model.run(batch.tokens)
        return cross_entropy(logits, batch.targets, batch.weight) + weight * sum(losses), logits

    return objective
