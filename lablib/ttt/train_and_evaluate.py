"""One model of a comparison, whole: built, trained, and read position by position, with and without its inner loop.

What the experiments of notebook 03 share. Peers are configurations (`lablib/ttt/baselines.py`); arms of one name differ
in the seed alone.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.core.measure import count_flops
from lablib.core.seeds import generator
from lablib.core.weights_cache import weights_place
from lablib.data.batch import Batch, every_next
from lablib.data.languages import Language, LanguageConfig
from lablib.data.mixture import text_batch
from lablib.data.text import standard_library
from lablib.nn.model import LanguageModel, state_bytes
from lablib.nn.plan import ModelConfig
from lablib.ops.grad_mode import outside_inference_mode
from lablib.train.evaluate import budget, by_position, by_sequences
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit
from lablib.train.losses import in_vocabulary, next_token_loss
from lablib.train.optim import OptimConfig
from lablib.ttt.e2e import InnerConfig, Reading, TTTModel, meta_loss

Draw = Callable[[int, int, Generator], Batch]  # length, batch, generator
# what the models share: norms before and after each part, and sizes of their own
SANDWICH = ModelConfig(
    plan="swa swa swa swa+prime", norm="sandwich", vocab=16, hidden=64, prime=64, window=16, chunk=16
)
TRAINING = 1  # version of the training here: raise it when the trained weights change
BYTES = 128  # of a text of bytes: what is above is cut off


@dataclass(frozen=True, kw_only=True)
class RunConfig(Config):
    """A run: its model, whether it is trained through the inner loop (`learns`), and how it is read (in tokens).

    corpus         a language with a known best loss, or the bytes of the standard library
    length         of a training text; `read_length` of the texts it is read on, `texts` of them
    resolution     positions to a row of the table: 1, or 0 for stretches that double (0-16, 16-32, 32-64, ...)
    naive_rates    inner rates at which a model that was not trained through the inner loop is read with it
    rate_warmup    share of the steps over which the inner rate rises from a tenth
    """

    name: str = "TTT-E2E"
    seed: int = 0
    model: ModelConfig = SANDWICH
    inner: InnerConfig = InnerConfig()
    learns: bool = True
    corpus: Literal["language", "bytes"] = "language"
    language: LanguageConfig = LanguageConfig()
    train: TrainConfig = TrainConfig(steps=800, batch=16, optim=OptimConfig(lr=5e-3))
    length: int = 256
    read_length: int = 2048
    texts: int = 128
    resolution: int = 0
    naive_rates: tuple[float, ...] = ()
    rate_warmup: float = 0.0

    scales: ClassVar = {
        "smoke": {"train": TrainConfig(steps=4, batch=4, log_every=2), "length": 32, "read_length": 64, "texts": 4},
        "lab": {"texts": 64},
        "full": {},
    }

    limits: ClassVar = {"at least 1": "length read_length texts", "at least 0": "naive_rates", "0 to 1": "rate_warmup"}

    def faults(self) -> Iterator[tuple[Any, str]]:
        own, text, resolution = self.model.vocab, self.text_vocab, self.resolution
        yield own != text, f"model.vocab is {own}, but the text has {text} tokens"
        stretches = "expected 1 (each position) or 0 (doubling stretches)"
        yield resolution not in (0, 1), f"resolution is {resolution}; {stretches}"

    @property
    def text_vocab(self) -> int:
        """How many tokens the text may have."""
        return self.language.vocab if self.corpus == "language" else BYTES


class RateWarmup(Hook):
    """The inner rate rises in equal steps from a tenth at step 0 to the whole at step `steps`.

    The code of arXiv 2512.23675 is one step ahead: it counts steps from 1 and never has the tenth itself.
    """

    def __init__(self, steps: float):
        self.steps = steps

    def before_step(self, step: int, model: nn.Module) -> None:
        model.rate_factor = min(1.0, 0.1 + 0.9 * step / self.steps) if self.steps else 1.0


def train_and_read(cfg: RunConfig) -> pd.DataFrame:
    """The table of one model: phase "train" by step, then "read" by position, mode "on", "off" or "naive".

    Raises RuntimeError where a model is better than the language allows: then it has seen what it predicts.
    """
    model = build(cfg)
    table = train(cfg, model)
    parts = [table.assign(phase="train"), *read_all(cfg, model.eval())]
    base, fast, rate = model, 0, math.nan
    if isinstance(model, TTTModel):
        base, fast, rate = model.base, model.num_fast, float(model.rate().detach())
    with torch.no_grad():
        _, states = base.read(torch.zeros(1, cfg.read_length, dtype=torch.long))
    return pd.concat(parts, ignore_index=True).assign(
        fast_weights=fast, trained_rate=rate, state_bytes=state_bytes(states) + 4 * fast
    )


def build(cfg: RunConfig) -> LanguageModel | TTTModel:
    """With the initial values of its seed."""
    model = LanguageModel(cfg.model, generator("weights", cfg.seed))
    if cfg.naive_rates and not cfg.learns:  # an inner loop that the reading could not carry is refused now
        TTTModel(model, cfg.inner.replace(order="first"))
    return TTTModel(model, cfg.inner) if cfg.learns else model


def train(
    cfg: RunConfig, model: LanguageModel | TTTModel, *, draw: Draw | None = None, stream: str = "training"
) -> pd.DataFrame:
    """Train in place; interrupted, a later call goes on. `draw`: other texts than the corpus'."""
    trained = cfg.replace(texts=1, read_length=1, naive_rates=(), resolution=0)  # what the weights depend on
    return fit(
        model, partial(draw or source(cfg, "train"), cfg.length), cfg.train, generator(stream, cfg.seed),
        hooks=[RateWarmup(cfg.rate_warmup * cfg.train.steps)] if cfg.learns else [],
        objective=meta_loss if cfg.learns else next_token_loss,
        checkpoint=weights_place("ttt/run", TRAINING, trained.digest()),
    )  # fmt: skip


def source(cfg: RunConfig, split: Literal["train", "held-out"]) -> Draw:
    """Texts of the corpus, of any length."""
    if cfg.corpus == "language":
        return Language(cfg.language)
    return partial(text_batch, standard_library(split).tokens.clamp_max(BYTES - 1))


def read_all(cfg: RunConfig, model: LanguageModel | TTTModel) -> list[pd.DataFrame]:
    """Read the same held-out texts in every mode that the model has."""
    batch = source(cfg, "held-out")(cfg.read_length, cfg.texts, generator("held out", cfg.seed))
    known = Language(cfg.language) if cfg.corpus == "language" else None
    best = None if known is None else by_sequences(lambda part: known.bayes(part.tokens, part.targets), batch)
    modes: list[tuple[dict[str, Any], nn.Module]] = [({"mode": "off"}, model)]
    if isinstance(model, TTTModel):
        modes = [({"mode": "on"}, model), ({"mode": "off"}, model.base)]
    else:
        for rate in cfg.naive_rates:
            learner = TTTModel(model, cfg.inner.replace(rate=rate, order="first")).eval()
            modes.append(({"mode": "naive", "read_rate": rate}, learner))
    found = []
    for labels, reader in modes:
        losses = by_sequences(lambda part, reader=reader: read(reader, part).losses, batch)
        if best is not None:
            check_leak(losses, best, f"{cfg.name} ({labels['mode']})")
        found.append(by_position(losses, best, cfg.resolution).assign(phase="read", **labels))
    return found


@torch.no_grad()
def read(model: LanguageModel | TTTModel, batch: Batch) -> Reading:
    """Nats at every position and logits, with the inner loop if the model has one."""
    if isinstance(model, TTTModel):
        return model.read(batch.tokens, batch.targets)
    logits = model(batch.tokens)
    targets = in_vocabulary(batch.targets, logits.shape[-1])
    return Reading(F.cross_entropy(logits.mT, targets, reduction="none"), logits)


def check_leak(losses: Tensor, best: Tensor, name: str) -> None:
    """RuntimeError for a mean loss more than four standard errors below the best possible, paired by text."""
    below = (losses - best).double().mean(1)
    error = below.std() / math.sqrt(len(below)) if len(below) > 1 else torch.tensor(math.inf)
    if below.mean() < -4 * error:
        raise RuntimeError(
            f"{name} is {-below.mean():.4f} nats better than any predictor can be ({error:.4f} is a standard error): "
            "it scores something that it has learnt from already"
        )


@outside_inference_mode
def spent(cfg: RunConfig) -> dict[str, float | int]:
    """The budget columns of a training; an outer step, forward and backward, is counted on two texts."""
    model, batch = build(cfg), every_next(torch.zeros(2, cfg.length + 1, dtype=torch.long))
    objective = meta_loss if cfg.learns else next_token_loss
    with torch.enable_grad():
        flops = count_flops(lambda: objective(model, batch)[0].backward()) * cfg.train.batch / 2
    return budget(model, tokens=cfg.train.steps * cfg.train.batch * cfg.length, flops=cfg.train.steps * flops)
