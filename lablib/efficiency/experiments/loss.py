"""What the distillation loss of two output maps takes: all logits at once, or those of a chunk of tokens at a time.

`efficiency/loss`  bytes kept for the backward pass and CPU seconds of both passes, by the size of the vocabulary
"""

import importlib.util
import statistics
from dataclasses import dataclass
from typing import ClassVar, Literal

import pandas as pd
import torch
from torch import Tensor

from lablib.core.config import Config, by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.measure import kept_bytes, timed
from lablib.core.seeds import generator
from lablib.ops.linear_divergence import linear_divergence, naive_linear_divergence


@dataclass(frozen=True, kw_only=True)
class LossConfig(Config):
    """Teacher and student of one width; the median of `repeats` counts; `seed` numbers the repetitions."""

    provider: Literal["all logits", "by chunk", "Liger"] = "by chunk"
    seed: int = 0
    tokens: int = 1024
    width: int = 128
    vocab: int = 8192
    repeats: int = 5

    limits: ClassVar = {"at least 1": "tokens width repeats", "at least 2": "vocab"}
    scales: ClassVar = {"smoke": {"tokens": 32, "width": 8, "vocab": 64, "repeats": 1}, "lab": {"repeats": 3}}


def loss_arms(scale: str) -> list[LossConfig]:
    """Own ways at three vocabularies; at full scale the chunked loss of Liger-Kernel too."""
    arms = grid(LossConfig.at(scale), provider=("all logits", "by chunk"))
    if scale == "full":
        arms = grid(LossConfig.at(scale), provider=("all logits", "by chunk", "Liger"), vocab=(2048, 8192, 32_768))
    return by_scale(scale, arms, lab=(0, 1), smoke=(0, 1))


@experiment("efficiency/loss", version=1, arms=loss_arms)
def loss(cfg: LossConfig) -> pd.DataFrame:
    """One row. `error`: of the gradient of the hidden states, relative to the definition in fp64."""
    rows = generator("noise", cfg.seed)
    draw = lambda count: torch.randn(count, cfg.width, generator=rows)  # noqa: E731
    given = tuple(draw(count) / cfg.width**0.25 for count in (cfg.tokens, cfg.vocab, cfg.tokens, cfg.vocab))
    hidden, head = (part.requires_grad_() for part in given[:2])
    compute, weight = providers(cfg)[cfg.provider], torch.ones(cfg.tokens)

    def step() -> Tensor:
        return torch.autograd.grad(compute(*given, weight), (hidden, head))[0]

    if cfg.provider == "Liger":  # its own gradients do not go together with what listens to autograd
        kept = sum(each.nbytes for each in compute(*given, weight).grad_fn.saved_tensors if each is not None)
    else:
        kept = kept_bytes(lambda: compute(*given, weight), *given, weight)
    spent = statistics.median(timed(step)[1] for _ in range(1 + cfg.repeats))
    wide = [part.detach().double() for part in given]
    wide[0].requires_grad_()
    (truth,) = torch.autograd.grad(naive_linear_divergence(*wide, weight.double()), wide[0])
    error = float((step().double() - truth).abs().max() / truth.abs().max())
    return pd.DataFrame([{"kept_bytes": kept, "seconds": spent, "error": error}])


def providers(cfg: LossConfig) -> dict:
    """By name: functions of hidden states, head, the teacher's of both, and weights."""
    known = {"all logits": naive_linear_divergence, "by chunk": linear_divergence}
    if cfg.provider != "Liger":
        return known
    if importlib.util.find_spec("liger_kernel") is None:
        raise RuntimeError("liger-kernel is not installed; `make test` installs what the lab is compared with")
    from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss  # seconds

    theirs = LigerFusedLinearJSDLoss(weight_hard_loss=0.0, weight_soft_loss=1.0, beta=0.0, compiled=False)
    unused = torch.zeros(cfg.tokens, dtype=torch.long)

    def liger(hidden: Tensor, head: Tensor, its_hidden: Tensor, its_head: Tensor, weight: Tensor) -> Tensor:
        found = theirs(hidden, head, its_hidden, its_head, unused)
        return found[0] if isinstance(found, tuple) else found

    return known | {"Liger": liger}
