"""A family of sizes in one model: the parent, what trains its budgets together, and what they are measured by."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lablib.core.config import Config
from lablib.core.measure import count_flops
from lablib.core.seeds import generator
from lablib.core.weights_cache import weights_place
from lablib.data.batch import Batch, rows_of
from lablib.data.skills import SKILLS, Skills, SkillsConfig
from lablib.elastic.budgets import Budget
from lablib.elastic.slices import Slices
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.evaluate import mean_where
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit
from lablib.train.losses import cross_entropy, forward_kl
from lablib.train.optim import OptimConfig

PLAN = "mamba2:8x8+no-mlp relu2:192 full-nope:4x16+no-mlp relu2:192 mamba2:8x8+no-mlp relu2:192"
PARENT = ModelConfig(plan=PLAN, vocab=122, width=64, groups=2, state=16, chunk=16)
# about the ratios of 12, 9 and 6 billion parameters (arXiv 2511.16664)
BUDGETS = {
    "L": Budget(),
    "M": Budget(width=56, hidden=144, mamba_heads=3),
    "S": Budget(width=48, hidden=96, mamba_heads=2),
}
TRAINING = 1  # version of the training here: raise it when the trained weights change
GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, kw_only=True)
class ParentConfig(Config):
    """A parent and its training: next tokens of rows of `length` tokens."""

    seed: int = 0
    model: ModelConfig = PARENT
    skills: SkillsConfig = SkillsConfig()
    length: int = 64
    train: TrainConfig = TrainConfig(steps=1200, batch=32, log_every=100, optim=OptimConfig(lr=8e-3))

    limits: ClassVar = {"at least 1": "length"}
    scales: ClassVar = {"smoke": {"train": TrainConfig(steps=4, batch=4, log_every=2), "length": 32}}

    def faults(self) -> Iterator[tuple[Any, str]]:
        own, text = self.model.vocab, self.skills.vocab
        yield own != text, f"model.vocab is {own}, but the texts have {text} tokens"


def trained_parent(cfg: ParentConfig) -> LanguageModel:
    """The parent of a seed; trained once, then read."""
    model = LanguageModel(cfg.model, generator("initial weights", cfg.seed))
    place = weights_place("elastic/parent", TRAINING, cfg.digest())
    draw = partial(Skills(cfg.skills), cfg.length)
    fit(model, draw, cfg.train, generator("rows", cfg.seed), checkpoint=place)
    return model.eval()


# ---- budgets that are trained together


def check_shares(names: Sequence[str], shares: Sequence[float]) -> None:
    """ValueError unless there is a share >= 0 for each, and they sum to 1."""
    fit_together = len(names) == len(shares) and all(0 <= share <= 1 for share in shares)
    if not fit_together or not math.isclose(sum(shares), 1, abs_tol=1e-6):
        raise ValueError(f"shares are {tuple(shares)} for {', '.join(names)}; expected one each, that sum to 1")


def split_rows(batch: int, shares: Sequence[float], step: int) -> list[int]:
    """How many rows of a step's batch each budget gets.

    Row n of the run falls at the fraction of n times the golden ratio, so shares are kept closely all the time, and a
    resumed run goes on as it was.
    """
    at = (torch.arange(step * batch, (step + 1) * batch, dtype=torch.double) * GOLDEN) % 1
    ends = torch.tensor(shares, dtype=torch.double).cumsum(0)[:-1]
    return torch.bucketize(at, ends, right=True).bincount(minlength=len(shares)).tolist()


class Family(Hook):
    """The objective that trains budgets on their shares of the rows; as a hook it logs the loss of each.

    KD           forward KL from a frozen teacher (arXiv 2511.16664, equation 16)
    CE           next tokens
    own teacher  the whole model learns next tokens from all rows, and the others learn from it as it is at this step
    """

    def __init__(
        self,
        budgets: dict[str, Budget | None],
        shares: Sequence[float],
        loss: Literal["KD", "CE", "own teacher"] = "KD",
        teacher: LanguageModel | None = None,
    ):
        check_shares(list(budgets), shares)
        if loss == "KD" and teacher is None:
            raise ValueError("loss 'KD' needs a teacher; give a frozen model, or loss='CE'")
        self.budgets, self.shares, self.loss = budgets, tuple(shares), loss
        self.teacher = None if teacher is None else teacher.eval()
        self.step, self.losses = 0, dict.fromkeys(budgets, math.nan)

    def before_step(self, step: int, model: nn.Module) -> None:
        self.step = step

    def after_backward(self, step: int, model: nn.Module, batch: Batch, logits: Tensor, row: dict[str, Any]) -> None:
        row.update({f"loss {name}": value for name, value in self.losses.items()})

    def __call__(self, model: Slices, batch: Batch) -> tuple[Tensor, Tensor]:
        """The mean loss over all rows, each under its budget; and the logits."""
        counts = split_rows(len(batch.tokens), self.shares, self.step)
        target, total = self._targets(model, batch), batch.weight.sum()
        losses, found, start = [], [], 0
        self.losses = dict.fromkeys(self.budgets, math.nan)
        if self.loss == "own teacher":
            losses.append(cross_entropy(target, batch.targets, batch.weight))
            target = target.detach()
        for (name, budget), count in zip(self.budgets.items(), counts, strict=True):
            part = rows_of(batch, slice(start, start + count))
            if count and bool(part.weight.sum() > 0):
                logits = model(part.tokens, budget)
                if self.loss == "CE":
                    loss = cross_entropy(logits, part.targets, part.weight)
                else:
                    loss = forward_kl(target[start : start + count], logits, part.weight)
                losses.append(loss * part.weight.sum() / total)
                found.append(logits)
                self.losses[name] = float(loss.detach())
            start += count
        return sum(losses), torch.cat(found)

    def _targets(self, model: Slices, batch: Batch) -> Tensor | None:
        if self.loss == "own teacher":
            return model(batch.tokens)
        if self.loss == "CE":
            return None
        with torch.no_grad():
            return self.teacher(batch.tokens)


# ---- measures


class Texts(NamedTuple):
    """Held-out rows, and what asks for which skill in them."""

    batch: Batch
    parts: dict[str, Tensor]


def held_out_texts(skills: SkillsConfig, length: int, rows: int, seed: int) -> Texts:
    """The held-out rows of a seed: the same for every arm."""
    source = Skills(skills)
    batch = source(length, rows, generator("held-out rows", seed))
    return Texts(batch, source.parts(batch))


@torch.no_grad()
def measured(model: Callable[..., Tensor], texts: Texts, budget: Budget | None = None) -> dict[str, float]:
    """Loss (nats, as in training), loss of words (nats), shares of right facts and of right recalls."""
    batch, parts = texts
    logits = model(batch.tokens) if budget is None else model(batch.tokens, budget)
    found = {"loss": float(cross_entropy(logits, batch.targets, batch.weight))}
    losses = F.cross_entropy(logits.mT, batch.targets, reduction="none")
    right = (logits.argmax(-1) == batch.targets).float()
    return found | {name: mean_where(losses if name == "text" else right, parts[name]) for name in SKILLS}


@torch.no_grad()
def recall_by_distance(model: Callable[..., Tensor], texts: Texts, budget: Budget | None) -> pd.DataFrame:
    """Share of right recalls by how many tokens ago the value stood, in stretches that double."""
    batch, where = texts.batch, texts.parts["recall"]
    right = (model(batch.tokens, budget).argmax(-1) == batch.targets)[where].float()
    away = (torch.arange(batch.tokens.shape[1]) - batch.evidence)[where]
    rows, near = [], 1
    while near <= int(away.max()):
        inside = (away >= near) & (away < 2 * near)
        rows.append({"nearest": near, "farthest": 2 * near - 1, "recall": mean_where(right, inside)})
        near *= 2
    return pd.DataFrame(rows).dropna()


def step_flops(model: Slices, family: Family, batch: Batch) -> int:
    """FLOPs of a step on a batch, forward and backward, the teacher's too."""
    return count_flops(lambda: family(model, batch)[0].backward())
