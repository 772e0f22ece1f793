"""A base on one language, tuned on another: what is learnt, and what is forgotten.

The base has biases, so that BitFit has something to train. It reads fresh rows of language A. It is then tuned on a few
rows of language B, which is A after a shift: of the frequencies of tokens, or of what follows in some contexts.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Generator, nn

from lablib.core.config import Config, later
from lablib.core.seeds import generator
from lablib.core.weights_cache import weights_place
from lablib.data.batch import Batch, rows_of
from lablib.data.markov import Markov, MarkovConfig
from lablib.efficiency.known import Excess
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.tuning import TuningConfig, trainable, tuned
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit
from lablib.train.optim import OptimConfig

APART = 10_000  # between the seeds of two users
TRAINING = 1  # version of the trainings here: raise it when the trained weights change
MODEL = ModelConfig(plan="swa swa", vocab=24, width=32, hidden=64, window=2, bias=True)


@dataclass(frozen=True, kw_only=True)
class BaseConfig(Config):
    """A base: a model trained on fresh rows of `length` tokens of the language without its shift."""

    model: ModelConfig = MODEL
    length: int = 32
    train: TrainConfig = TrainConfig(steps=1500, batch=32, log_every=500, optim=OptimConfig(lr=1.6e-2))

    limits: ClassVar = {"at least 2": "length"}
    scales: ClassVar = {"smoke": {"train": TrainConfig(steps=4, batch=4, log_every=2)}}


@dataclass(frozen=True, kw_only=True)
class TuneConfig(Config):
    """A base and how it is tuned: `tokens` tokens of the shifted language, the same in every epoch.

    first_seed   of the language, the rows and all weights; `seed` is added
    user         users of one base differ in shift and rows
    """

    name: str = "LoRA"
    seed: int = 0
    first_seed: int = 0
    base: BaseConfig = BaseConfig()
    language: MarkovConfig = MarkovConfig(shift="transitions", strength=0.3)
    tuning: TuningConfig = TuningConfig(count=14)
    tokens: int = 4000
    train: TrainConfig = TrainConfig(steps=300, batch=32, log_every=100, optim=OptimConfig(lr=3e-3))
    rows: int = 128
    user: int = later(0)

    limits: ClassVar = {"at least 1": "rows", "at least 0": "user"}
    scales: ClassVar = {
        "smoke": {
            "base": BaseConfig.at("smoke"), "train": TrainConfig(steps=3, batch=4, log_every=1), "rows": 8,
            "tokens": 400,
        },
    }  # fmt: skip

    def faults(self) -> Iterator[tuple[Any, str]]:
        vocab, own, length = self.language.vocab, self.base.model.vocab, self.base.length
        yield own != vocab, f"base.model.vocab is {own}, but the language has {vocab} tokens"
        yield self.tokens < length, f"tokens is {self.tokens}; expected at least one row of base.length={length}"

    def stream(self, name: str, user: int = 0) -> Generator:
        """A stream of randomness of the arm, or of a user of its base."""
        return generator(name, self.first_seed + self.seed + APART * user)

    def languages(self) -> tuple[Markov, Markov]:
        """Before and after the shift."""
        own = self.first_seed + self.seed
        after = self.language.replace(table_seed=own, shift_seed=own + APART * self.user)
        return Markov(after.replace(shift="none", strength=0.0)), Markov(after)


def trained_base(cfg: TuneConfig) -> LanguageModel:
    """The base of the seed; trained once, then read."""
    own, (before, _) = cfg.base, cfg.languages()
    model = LanguageModel(own.model, cfg.stream("initial weights"))
    place = weights_place("efficiency/base", TRAINING, own.digest(before.cfg.digest()))
    fit(model, lambda batch, rows: before(own.length, batch, rows), own.train, cfg.stream("rows"), checkpoint=place)
    return model.eval()


class Learns(Hook):
    """Refuses a training in which nothing learns: what is trainable has to move in the first step.

    RuntimeError names what stood still. A `down` has no gradient before its `up` has left 0, so it may wait.
    """

    def __init__(self):
        self.before: dict[str, torch.Tensor] | None = None

    def before_step(self, step: int, model: nn.Module) -> None:
        own = {name: p for name, p in trainable(model).items() if "down" not in name.split(".")}
        if self.before is None:
            if not own:
                raise RuntimeError("nothing is trainable; expected at least one parameter with requires_grad")
            self.before = {name: p.detach().clone() for name, p in own.items()}
        elif self.before:
            still = [name for name, p in own.items() if torch.equal(p, self.before[name])]
            self.before = {}
            if still:
                raise RuntimeError(
                    f"{still[0]} did not move in the first step: it got no gradient. Is the part used, is its rate "
                    "above 0, and does a checkpoint with use_reentrant=True stand behind a frozen input?"
                )


def excess_of(cfg: TuneConfig) -> Excess:
    """`excess` from the new language, and `excess_before` from the old one."""
    before, after = cfg.languages()
    held_out = {}
    for name, language, stream in (("excess", after, "held-out rows"), ("excess_before", before, "evaluation")):
        batch = language(cfg.base.length, cfg.rows, cfg.stream(stream))
        held_out[name] = (batch, language.log_probabilities(batch.tokens))
    return Excess(held_out)


def tuning_rows(cfg: TuneConfig) -> Batch:
    """The rows of the new language that the base is tuned on."""
    _, after = cfg.languages()
    return after(cfg.base.length, max(1, cfg.tokens // cfg.base.length), cfg.stream("further rows", cfg.user))


def rows_drawn(kept: Batch) -> Callable[[int, Generator], Batch]:
    """Batches of kept rows, each drawn with replacement."""
    return lambda batch, rows: rows_of(kept, torch.randint(len(kept.tokens), (batch,), generator=rows))


def tuned_base(cfg: TuneConfig) -> tuple[nn.Module, LanguageModel, pd.DataFrame]:
    """The tuned model, its base, and a row a logged step."""
    base, kept = trained_base(cfg), tuning_rows(cfg)
    model = tuned(base, cfg.tuning, cfg.stream("noise"))
    table = fit(model, rows_drawn(kept), cfg.train, cfg.stream("calibration"), hooks=[Learns(), excess_of(cfg)])
    return model, base, table
