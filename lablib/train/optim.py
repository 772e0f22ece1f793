"""AdamW with groups of parameters: matrices decay; gains, biases and embeddings do not."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from lablib.core.config import Config
from lablib.nn.surgery import plain_name
from lablib.ops.grad_mode import refuse_inference_weights

EPS = 1e-8  # of AdamW, before multipliers


@dataclass(frozen=True, kw_only=True)
class OptimConfig(Config):
    """AdamW (arXiv 1711.05101) at peak learning rate `lr`; `clip` bounds the norm of the whole gradient (inf: none)."""

    lr: float = 4e-3
    beta1: float = 0.9
    beta2: float = 0.95
    weight_decay: float = 0.01
    clip: float = 1.0

    limits: ClassVar = {"at least 0": "lr weight_decay", "0 to less than 1": "beta1 beta2", "more than 0": "clip"}
    endless: ClassVar = ("clip",)


class Multipliers(NamedTuple):
    """What a parameter's learning rate, weight decay and epsilon are multiplied by."""

    lr: float = 1.0
    weight_decay: float = 1.0
    eps: float = 1.0


def as_configured(name: str, parameter: nn.Parameter) -> Multipliers:
    """No multiplier, for any parameter."""
    return Multipliers()


def build_optimizer(
    model: nn.Module,
    cfg: OptimConfig,
    multipliers: Callable[[str, nn.Parameter], Multipliers] = as_configured,
) -> torch.optim.AdamW:
    """AdamW over the trainable parameters; each group remembers its peak rate as `peak_lr`.

    A group is all parameters with the same multipliers that decay, or that do not: gains, biases and embeddings.
    `multipliers` gives those of a parameter by its name (default: all 1). ValueError for a bad one.
    """
    refuse_inference_weights(model)
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    groups: dict[tuple[Multipliers, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        name = plain_name(name)
        factors = multipliers(name, parameter)
        if not all(0 <= each < math.inf for each in factors):
            raise ValueError(f"{name} has the multipliers {factors}; expected none below 0, all finite")
        for decays in (True, False):  # both groups, so that their order is always the same
            groups.setdefault((factors, decays), [])
        groups[factors, parameter.ndim >= 2 and id(parameter) not in embedded].append(parameter)
    found = []
    for (factors, decays), members in groups.items():
        decay = cfg.weight_decay * factors.weight_decay * decays
        rates = {"weight_decay": decay, "peak_lr": cfg.lr * factors.lr, "eps": EPS * factors.eps}
        found.append({"params": members, **rates})
    return torch.optim.AdamW(found, lr=cfg.lr, betas=(cfg.beta1, cfg.beta2))
