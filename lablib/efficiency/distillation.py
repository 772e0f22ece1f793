"""Distillation (arXiv 1503.02531): a student learns the next-token probabilities of a teacher, not the tokens alone.

    loss = share * T^2 D(p, q) + (1 - share) * cross-entropy

p are the teacher's probabilities at temperature T, q the student's. The pipeline has four steps, each a value or a
function: a teacher (`trained_teacher`), rows with its labels (`labelled`), the student's training (`trained_student`),
and a last part on hard labels alone, if asked.

    labels       "tokens": hard labels, the tokens that came; no teacher
                 "language": the exact probabilities of the language
                 "teacher": those of a trained teacher
                 "teacher's text": hard labels again, on rows that the teacher wrote (arXiv 1606.07947)
                 "own text": the teacher's probabilities on rows that the student writes during its training
                 (on-policy, arXiv 2306.13649)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.core.seeds import generator
from lablib.core.weights_cache import weights_place
from lablib.data.batch import Batch, rows_of
from lablib.data.markov import Markov, MarkovConfig, counted
from lablib.efficiency.known import Excess
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.sampling import write
from lablib.ops.divergences import TopK, jsd, top_k, top_k_kl
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit
from lablib.train.losses import cross_entropy, weighted_mean
from lablib.train.optim import OptimConfig

TRAINING = 1  # version of the trainings here: raise it when the trained weights change
MODEL = ModelConfig(plan="swa swa", vocab=24, width=32, hidden=64, window=2)  # reads two tokens back, as the language
Labels = Literal["tokens", "language", "teacher", "teacher's text", "own text"]


@dataclass(frozen=True, kw_only=True)
class TeacherConfig(Config):
    """A teacher: a model trained on the next tokens of `tokens` tokens (0: fresh rows in every step)."""

    model: ModelConfig = MODEL
    tokens: int = 64_000
    train: TrainConfig = TrainConfig(steps=1200, batch=32, log_every=200, optim=OptimConfig(lr=8e-3))

    limits: ClassVar = {"at least 0": "tokens"}
    scales: ClassVar = {"smoke": {"train": TrainConfig(steps=4, batch=4, log_every=2)}}


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(Config):
    """A student and how it is taught. Its rows are `tokens` tokens in rows of `length`, the same in every epoch.

    first_seed    of the language, the rows and all weights; `seed` is added
    beta          0: forward KL, 1: reverse KL, between: generalised JSD
    share         of the soft labels in the loss
    top           how many of the teacher's probabilities are stored (0: all); `remainder`: what is left is one more
    hard_steps    steps on hard labels alone, at the end
    """

    name: str = "KD"
    seed: int = 0
    first_seed: int = 0
    language: MarkovConfig = MarkovConfig()
    student: ModelConfig = MODEL
    teacher: TeacherConfig = TeacherConfig()
    labels: Labels = "teacher"
    tokens: int = 4000
    length: int = 32
    temperature: float = 1.0
    beta: float = 0.0
    share: float = 1.0
    top: int = 0
    remainder: bool = True
    hard_steps: int = 0
    train: TrainConfig = TrainConfig(steps=600, batch=32, log_every=20, optim=OptimConfig(lr=8e-3))
    rows: int = 128

    limits: ClassVar = {
        "at least 1": "length rows", "at least 0": "top hard_steps", "more than 0": "temperature",
        "0 to 1": "beta share",
    }  # fmt: skip
    scales: ClassVar = {
        "smoke": {
            "teacher": TeacherConfig.at("smoke"), "train": TrainConfig(steps=4, batch=4, log_every=2), "rows": 8,
            "tokens": 400,
        },
    }  # fmt: skip

    def faults(self) -> Iterator[tuple[Any, str]]:
        vocab, own, its = self.language.vocab, self.student.vocab, self.teacher.model.vocab
        yield own != vocab, f"student.vocab is {own}, but the language has {vocab} tokens"
        yield its != vocab, f"teacher.model.vocab is {its}, but the student has {vocab} tokens; expected one vocabulary"
        yield self.top > vocab, f"top is {self.top}; expected at most the vocabulary, {vocab}"
        yield self.tokens < self.length, f"tokens is {self.tokens}; expected at least one row of length={self.length}"
        cut = self.top and (self.beta or self.temperature != 1)
        yield cut, f"top={self.top} is for the forward KL at temperature 1; got beta={self.beta}, {self.temperature}"
        late = self.hard_steps > self.train.steps
        yield late, f"hard_steps is {self.hard_steps}; expected at most train.steps={self.train.steps}"

    def stream(self, name: str) -> Generator:
        """A stream of randomness of the arm."""
        return generator(name, self.first_seed + self.seed)

    def spoken(self) -> Markov:
        """The language of the seed."""
        return Markov(self.language.replace(table_seed=self.first_seed + self.seed))


class Labelled(NamedTuple):
    """Rows, and the soft labels of each position: log probabilities, or the most probable ones; None: hard labels."""

    batch: Batch
    soft: Tensor | TopK | None

    def rows(self, chosen: Tensor) -> "Labelled":
        """Some of the rows."""
        soft = self.soft
        if soft is not None:
            soft = TopK(*(part[chosen] for part in soft)) if isinstance(soft, TopK) else soft[chosen]
        return Labelled(rows_of(self.batch, chosen), soft)


def trained_teacher(cfg: DistillationConfig) -> LanguageModel:
    """The teacher of the seed; trained once, then read. It never trains on the student's rows."""
    own, language = cfg.teacher, cfg.spoken()
    model = LanguageModel(own.model, cfg.stream("noise"))
    place = weights_place("efficiency/teacher", TRAINING, own.digest(f"{language.cfg.digest()} {cfg.length}"))
    draw = lambda batch, rows: language(cfg.length, batch, rows)  # noqa: E731
    if own.tokens:
        kept = language(cfg.length, max(1, own.tokens // cfg.length), cfg.stream("further rows"))
        draw = lambda batch, rows: rows_of(kept, _some(len(kept.tokens), batch, rows))  # noqa: E731
    fit(model, draw, own.train, cfg.stream("calibration"), checkpoint=place)
    return model.eval().requires_grad_(False)


def _some(number: int, batch: int, rows: Generator) -> Tensor:
    return torch.randint(number, (batch,), generator=rows)


@torch.no_grad()
def labelled(cfg: DistillationConfig, batch: Batch, teacher: LanguageModel | None) -> Labelled:
    """Rows with the labels that the configuration asks for. ValueError for a teacher that is in training."""
    if teacher is not None and (teacher.training or any(p.requires_grad for p in teacher.parameters())):
        raise ValueError("the teacher is still training; call .eval().requires_grad_(False) on it first")
    if cfg.labels in ("tokens", "teacher's text"):
        return Labelled(batch, None)
    soft = cfg.spoken().log_probabilities(batch.tokens) if cfg.labels == "language" else teacher(batch.tokens)
    return Labelled(batch, top_k(soft, cfg.top) if cfg.top else soft.log_softmax(-1))


def soft_loss(cfg: DistillationConfig, soft: Tensor | TopK, logits: Tensor, weight: Tensor) -> Tensor:
    """The mean divergence from the soft labels over what counts."""
    if isinstance(soft, TopK):
        return weighted_mean(top_k_kl(soft, logits, remainder=cfg.remainder), weight)
    return weighted_mean(jsd(soft, logits, cfg.beta, cfg.temperature), weight)


class Teaching(Hook):
    """Draws rows and gives the loss of a step; as a hook it knows the step, and the student that writes."""

    def __init__(self, cfg: DistillationConfig, student: LanguageModel, teacher: LanguageModel | None):
        self.cfg, self.student, self.teacher, self.step = cfg, student, teacher, 0
        language, number = cfg.spoken(), max(1, cfg.tokens // cfg.length)
        rows = language(cfg.length, number, cfg.stream("rows"))
        if cfg.labels == "teacher's text":
            rows = written(teacher, number, cfg.length, cfg.stream("rows"))
        self.kept = labelled(cfg, rows, teacher)

    def before_step(self, step: int, model: nn.Module) -> None:
        self.step = step

    def draw(self, batch: int, rows: Generator) -> Labelled:
        if self.cfg.labels == "own text":
            return labelled(self.cfg, written(self.student, batch, self.cfg.length, rows), self.teacher)
        return self.kept.rows(_some(len(self.kept.batch.tokens), batch, rows))

    def __call__(self, model: nn.Module, given: Labelled) -> tuple[Tensor, Tensor]:
        cfg, batch = self.cfg, given.batch
        logits = model(batch.tokens)
        last = self.step >= cfg.train.steps - cfg.hard_steps
        share = 0.0 if given.soft is None or last else cfg.share
        parts = []
        if share < 1:
            parts.append((1 - share) * cross_entropy(logits, batch.targets, batch.weight))
        if share > 0:
            parts.append(share * soft_loss(cfg, given.soft, logits, batch.weight))
        return sum(parts), logits


def written(model: LanguageModel, batch: int, length: int, rows: Generator) -> Batch:
    """Rows that a model writes behind two tokens of the language's beginning, which are uniform."""
    prompt = torch.randint(model.cfg.vocab, (batch, 2), generator=rows)
    return counted(torch.cat([prompt, write(model, prompt, length - 1, rows)], 1))


def excess_of(cfg: DistillationConfig) -> Excess:
    """`excess` from the language; and `excess_choice`, on other rows, by which a step is chosen (early stopping)."""
    language, held_out = cfg.spoken(), {}
    for name, stream in (("excess", "held-out rows"), ("excess_choice", "evaluation")):
        batch = language(cfg.length, cfg.rows, cfg.stream(stream))
        held_out[name] = (batch, language.log_probabilities(batch.tokens))
    return Excess(held_out)


def trained_student(cfg: DistillationConfig) -> tuple[LanguageModel, LanguageModel | None, pd.DataFrame]:
    """The student, its teacher, and a row a logged step."""
    needed = cfg.labels not in ("tokens", "language")
    teacher = trained_teacher(cfg) if needed else None
    student = LanguageModel(cfg.student, cfg.stream("initial weights"))
    teaching = Teaching(cfg, student, teacher)
    # the rows of a step are drawn by another stream than the rows that are kept
    table = fit(
        student, teaching.draw, cfg.train, cfg.stream("training"), hooks=[teaching, excess_of(cfg)], objective=teaching
    )
    return student.eval(), teacher, table
