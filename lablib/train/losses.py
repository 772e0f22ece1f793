"""Losses on logits."""

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from lablib.data.batch import Batch
from lablib.ops import divergences


def cross_entropy(
    logits: Float[Tensor, "batch time vocab"], targets: Int[Tensor, "batch time"], weight: Float[Tensor, "batch time"]
) -> Float[Tensor, ""]:
    """Mean next-token loss in nats over the positions that count, each by its weight.

    Where the weight is 0, neither logits nor target play a part, whatever they are. ValueError as in `in_vocabulary`
    and `weighted_mean`.
    """
    counts, vocab = weight > 0, logits.shape[-1]
    targets = in_vocabulary(targets, vocab, counts).flatten()
    losses = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    if bool((~losses.isfinite() & ~counts.flatten()).any()):  # 0 times a loss that is not finite is no number
        logits = logits.masked_fill(~counts[..., None], 0.0)
        losses = F.cross_entropy(logits.flatten(0, 1), targets, reduction="none")
    return weighted_mean(losses, weight.flatten())


def forward_kl(
    teacher: Float[Tensor, "batch time theirs"],
    logits: Float[Tensor, "batch time vocab"],
    weight: Float[Tensor, "batch time"],
) -> Float[Tensor, ""]:
    """Mean of KL(teacher || student) in nats over the positions that count, each by its weight.

    ValueError as in `divergences.forward_kl` and `weighted_mean`.
    """
    return weighted_mean(divergences.forward_kl(teacher, logits), weight)


def in_vocabulary(
    targets: Int[Tensor, "batch time"], vocab: int, counts: Bool[Tensor, "batch time"] | None = None
) -> Int[Tensor, "batch time"]:
    """The targets, with token 0 in place of no token where the prediction does not count (by default all do).

    Raises ValueError for no token elsewhere: torch would take -100 for a loss of 0.
    """
    outside = (targets < 0) | (targets >= vocab)
    if not bool(outside.any()):
        return targets
    wrong = targets[outside if counts is None else outside & counts]
    if wrong.numel():
        words = f"a target that counts is {wrong[0].item()}; expected a token id from 0 to {vocab - 1}"
        raise ValueError(words if counts is None else f"{words}, or weight 0 there")
    return targets.masked_fill(outside, 0)


def weighted_mean(losses: Float[Tensor, "*shape"], weight: Float[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean of the losses by their weights; one of weight 0 may be anything. ValueError as in `check_weights`."""
    check_weights(weight)
    if bool((~losses.isfinite() & (weight == 0)).any()):
        losses = losses.masked_fill(weight == 0, 0.0)
    return (losses * weight).sum() / weight.sum()


def check_weights(weight: Float[Tensor, "*shape"]) -> None:
    """ValueError unless the weights of a batch are finite numbers >= 0, one of them more than 0."""
    if bool((wrong := ~((weight >= 0) & weight.isfinite())).any()):
        raise ValueError(f"a weight of the batch is {weight[wrong][0].item()}; expected finite numbers >= 0")
    if not bool(weight.sum() > 0):
        raise ValueError("no prediction of the batch counts: all its weights are 0; expected at least one above 0")


def why_not_finite(batch: Any, outputs: Tensor) -> str:
    """What is to blame for a loss that is not finite: the batch, the outputs, or how it was made of them."""
    try:
        if isinstance(batch, Batch):
            check_weights(batch.weight)
    except ValueError as fault:
        return f": {fault}"
    if wrong := int((~outputs.isfinite()).sum()):
        return f"; lower the learning rate or the clip: {wrong:,} of {outputs.numel():,} outputs are not finite"
    return ": the outputs and the weights of the batch are finite; look at what else the objective adds"


def next_token_loss(model: nn.Module, batch: Batch) -> tuple[Float[Tensor, ""], Float[Tensor, "batch time vocab"]]:
    """The loss of a batch, and the logits it was taken of."""
    logits = model(batch.tokens)
    return cross_entropy(logits, batch.targets, batch.weight), logits


def with_auxiliary(weight: float) -> Callable[[nn.Module, Batch], tuple[Tensor, Tensor]]:
    """The next-token loss plus `weight` times the sum of what layers return as auxiliary losses."""
    if not 0 <= weight < math.inf:
        raise ValueError(f"the weight of the auxiliary losses is {weight}; expected a finite number >= 0")

    def objective(model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, _, losses = model.run(batch.tokens)
        return cross_entropy(logits, batch.targets, batch.weight) + weight * sum(losses), logits

    return objective
