"""What tuning with few parameters saves: memory of a step by method, and its time.

`efficiency/memory`  bytes of gradients, of the optimiser and of activations, CPU seconds of a step

Gradients and optimiser are counted in the tensors that are there after a step, activations in what autograd keeps.
"""

import statistics
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Tensor, nn

from lablib.core.config import Config, by_scale
from lablib.core.cpu_time import timed
from lablib.core.experiment import experiment
from lablib.core.measure import kept_bytes, num_parameters
from lablib.core.seeds import generator
from lablib.data.batch import Batch, every_next
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.tuning import Method, TuningConfig, tuned
from lablib.train.losses import next_token_loss
from lablib.train.optim import OptimConfig, build_optimizer

COUNTS = {"full": 0, "LoRA": 28, "DoRA": 28, "adapters": 8, "BitFit": 28, "head": 0}


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(Config):
    """A step of `rows` rows of `length` tokens, the median of `repeats`; `seed` numbers the repetitions."""

    method: Method = "LoRA"
    seed: int = 0
    model: ModelConfig = ModelConfig(plan="full full full full", vocab=64, width=128, num_heads=4, bias=True)
    rows: int = 32
    length: int = 128
    repeats: int = 5

    limits: ClassVar = {"at least 1": "rows length repeats"}
    scales: ClassVar = {"smoke": {"rows": 2, "length": 16, "repeats": 1}}


def memory_arms(scale: str) -> list[MemoryConfig]:
    """Each method, five repetitions."""
    return by_scale(scale, [MemoryConfig.at(scale, method=name) for name in COUNTS], lab=(0, 1, 4), smoke=2)


@experiment("efficiency/memory", version=1, arms=memory_arms)
def memory(cfg: MemoryConfig) -> pd.DataFrame:
    """One row: bytes by kind, and CPU seconds of a step (median)."""
    base, noise = LanguageModel(cfg.model, generator("initial weights", cfg.seed)), generator("noise", cfg.seed)
    model = tuned(base, TuningConfig(method=cfg.method, count=COUNTS[cfg.method]), noise)
    optimizer = build_optimizer(model, OptimConfig())
    batch = every_next(torch.randint(cfg.model.vocab, (cfg.rows, cfg.length + 1), generator=noise))
    loss = lambda: next_token_loss(model, batch)[0]  # noqa: E731
    activations = kept_bytes(loss, *model.parameters(), *batch)
    seconds = statistics.median(timed(_step, model, batch, optimizer)[1] for _ in range(1 + cfg.repeats))
    own = [p for p in model.parameters() if p.grad is not None]
    state = [each for p in own for each in optimizer.state[p].values() if isinstance(each, Tensor)]
    found = {
        "trained": num_parameters(model), "weight_bytes": _bytes(model.parameters()),
        "gradient_bytes": _bytes(p.grad for p in own), "optimizer_bytes": _bytes(state),
        "activation_bytes": activations, "seconds": seconds,
    }  # fmt: skip
    return pd.DataFrame([found])


def _step(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    next_token_loss(model, batch)[0].backward()
    optimizer.step()


def _bytes(tensors: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors)
