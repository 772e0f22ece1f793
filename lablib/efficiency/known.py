"""How far a model is from languages whose probabilities are known."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lablib.data.batch import Batch
from lablib.ops.divergences import forward_kl
from lablib.train.hooks import Hook
from lablib.train.losses import weighted_mean


class Excess(Hook):
    """KL(language || model) in nats, exact at every position; by name, held-out rows and their true log probabilities.

    As a hook it logs each of them.
    """

    def __init__(self, held_out: Mapping[str, tuple[Batch, Tensor]]):
        self.held_out = dict(held_out)

    @torch.no_grad()
    def read(self, model: nn.Module) -> dict[str, float]:
        """By name."""
        return {
            name: float(weighted_mean(forward_kl(truth, model(batch.tokens)), batch.weight))
            for name, (batch, truth) in self.held_out.items()
        }

    def at_eval(self, step: int, model: nn.Module, row: dict[str, Any]) -> None:
        row.update(self.read(model))
