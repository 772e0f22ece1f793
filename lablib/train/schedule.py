"""Learning-rate schedules as pure functions of the step: a factor in [0, 1] of the peak rate."""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

from lablib.core.config import Config


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(Config):
    """Linear warm-up over `warmup` steps, then a shape over the rest.

    constant; linear and cosine fall to `floor`; wsd (warm-up, stable, decay; arXiv 2404.06395) stays at 1 and falls
    linearly to `floor` over the last `decay` share of the steps. The floor is reached one step after the last, at
    `num_steps`: the last step still has a rate above it.
    """

    shape: Literal["constant", "linear", "cosine", "wsd"] = "cosine"
    warmup: int = 50
    floor: float = 0.0
    decay: float = 0.2

    limits: ClassVar = {"at least 0": "warmup", "0 to 1": "floor", "more than 0, up to 1": "decay"}


def factor(cfg: ScheduleConfig, step: int, num_steps: int) -> float:
    """The share of the peak learning rate at `step` of `num_steps` (counted from 0)."""
    if step < cfg.warmup:
        return (step + 1) / (cfg.warmup + 1)
    begin = max(cfg.warmup, num_steps * (1 - cfg.decay)) if cfg.shape == "wsd" else cfg.warmup
    done = min(max((step - begin) / max(num_steps - begin, 1), 0.0), 1.0)
    if cfg.shape == "constant":
        return 1.0
    falling = 0.5 * (1 + math.cos(math.pi * done)) if cfg.shape == "cosine" else 1 - done
    return cfg.floor + (1 - cfg.floor) * falling
