"""AdamW with two groups: matrices decay, gains and embeddings do not."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn

from lablib.core.config import Config


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Config):
    """AdamW (arXiv 1711.05101) at peak learning rate `lr`; `clip` bounds the norm of the whole gradient."""

    lr: float = 4e-3
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.01
    clip: float = 1.0

    scales: ClassVar = {}


def build_optimizer(model: nn.Module, cfg: OptimConfig) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; each group remembers its peak rate as `peak_lr`."""
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    decayed, plain = [], []
    for parameter in filter(lambda p: p.requires_grad, model.parameters()):
        matrix = parameter.ndim >= 2 and id(parameter) not in embedded
        (decayed if matrix else plain).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": cfg.weight_decay, "peak_lr": cfg.lr},
        {"params": plain, "weight_decay": 0.0, "peak_lr": cfg.lr},
    ]
    return torch.optim.AdamW(groups, lr=cfg.lr, betas=(cfg.beta1, cfg.beta2))
