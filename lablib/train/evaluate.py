"""What a trained model is measured by: held-out rows, the loss by position, and what the training cost."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor, nn

from lablib.core.measure import count_flops, num_parameters
from lablib.core.refusals import at_least
from lablib.data.batch import Batch, rows_of
from lablib.train.losses import cross_entropy


def mean_where(x: Float[Tensor, "*shape"], mask: Bool[Tensor, "*shape"]) -> float:
    """Mean of `x` where `mask` holds; NaN where it holds nowhere."""
    return float(x[mask].mean()) if bool(mask.any()) else math.nan


def accuracy(logits: Float[Tensor, "batch time vocab"], batch: Batch, where: Bool[Tensor, "batch time"]) -> float:
    """Share of the positions `where` at which the largest logit is on the target."""
    return mean_where((logits.argmax(-1) == batch.targets).float(), where)


@torch.no_grad()
def held_out(
    model: nn.Module, draw: Callable[[int, Generator], Batch], rows: int, generator: Generator, batches: int = 16
) -> dict[str, float]:
    """Loss (nats) over what counts, and accuracy over what has evidence, on fresh batches of `rows` rows."""
    at_least(1, rows=rows, batches=batches)
    losses, accuracies = [], []
    for _ in range(batches):
        batch = draw(rows, generator)
        logits = model(batch.tokens)
        losses.append(float(cross_entropy(logits, batch.targets, batch.weight)))
        accuracies.append(accuracy(logits, batch, batch.evidence >= 0))
    return {"loss": float(np.mean(losses)), "accuracy": float(np.mean(accuracies))}


def by_sequences(measure: Callable[[Batch], Tensor], batch: Batch, tokens: int = 32_768) -> Tensor:
    """A measure of a few texts at a time, so that memory stays small."""
    at_least(1, texts=batch.tokens.shape[0], length=batch.tokens.shape[1])
    size = max(1, tokens // batch.tokens.shape[1])
    rows = range(0, len(batch.tokens), size)
    return torch.cat([measure(rows_of(batch, slice(start, start + size))) for start in rows])


def by_position(
    losses: Float[Tensor, "text time"], best: Float[Tensor, "text time"] | None, resolution: int
) -> pd.DataFrame:
    """Means over texts of stretches of positions [start, stop), and the best possible loss where it is known.

    `resolution` 1: each position; 0: stretches that double from 16 on. `text_error` is the standard error over texts.
    """
    at_least(1, texts=losses.shape[0], length=losses.shape[1])
    if resolution not in (0, 1):
        raise ValueError(f"resolution is {resolution}; expected 1 (each position) or 0 (doubling stretches)")
    time = losses.shape[1]
    edges = list(range(time + 1)) if resolution else [0, *(2**i for i in range(4, 40) if 2**i < time), time]
    rows = []
    for start, stop in pairwise(edges):
        part = losses[:, start:stop]
        row = {"start": start, "stop": stop, "loss": float(part.mean())}
        row["best"] = math.nan if best is None else float(best[:, start:stop].mean())
        row["text_error"] = float(part.mean(1).std() / np.sqrt(len(part))) if len(part) > 1 else 0.0
        rows.append(row)
    return pd.DataFrame(rows)


def forward_flops(model: nn.Module, rows: int, length: int) -> int:
    """FLOPs of one forward pass over `rows` rows, by `count_flops`. A training step takes three times as many."""
    at_least(1, rows=rows, length=length)
    tokens = torch.zeros(rows, length, dtype=torch.long)
    with torch.no_grad():
        return count_flops(lambda: model(tokens))


def budget(model: nn.Module, *, tokens: int, flops: float | int) -> dict[str, float | int]:
    """The columns that say what a training took: parameters, training tokens and training FLOPs."""
    return {"parameters": num_parameters(model), "train_tokens": tokens, "train_flops": flops}
