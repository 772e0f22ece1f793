"""A language whose next-token probabilities are known exactly: what is learnt can be measured without sampling noise.

The next token depends on the two tokens before it, by a fixed table with Dirichlet rows. A shift makes another
language of it:

    unigram       p(next) * w(next), scaled to sum to 1: the same change in every context
    transitions   a share of the contexts get new rows: the change is in the contexts alone
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from lablib.core.config import Config
from lablib.core.refusals import at_least, known_ids
from lablib.data.batch import Batch

Tokens = Int[Tensor, "batch time"]


@dataclass(frozen=True, kw_only=True)
class MarkovConfig(Config):
    """A language over `vocab` tokens; `concentration`: of the Dirichlet prior of a row (small: few successors).

    `strength` of a shift: the standard deviation of log w, or the share of the contexts that change.
    """

    vocab: int = 24
    concentration: float = 0.1
    table_seed: int = 0
    shift: Literal["none", "unigram", "transitions"] = "none"
    strength: float = 0.0
    shift_seed: int = 0

    limits: ClassVar = {"at least 2": "vocab", "more than 0": "concentration", "at least 0": "strength"}

    def faults(self):
        share = self.shift == "transitions" and self.strength > 1
        yield share, f"strength is {self.strength}; expected a share of the contexts, at most 1"


class Markov:
    """Draws rows, and says what follows each token with which probability."""

    def __init__(self, cfg: MarkovConfig):
        self.cfg = cfg
        rows = _rows(cfg, cfg.vocab**2, cfg.table_seed)
        if cfg.shift == "unigram":
            noise = torch.randn(cfg.vocab, generator=Generator().manual_seed(cfg.shift_seed))
            rows = rows * (cfg.strength * noise).exp()
        if cfg.shift == "transitions":
            other = _rows(cfg, cfg.vocab**2, cfg.shift_seed + 1_000_003)
            places = torch.randperm(cfg.vocab**2, generator=Generator().manual_seed(cfg.shift_seed))
            changed = places[: round(cfg.strength * cfg.vocab**2)]
            rows[changed] = other[changed]
        self.table: Float[Tensor, "first second next"] = (rows / rows.sum(-1, keepdim=True)).unflatten(
            0, (cfg.vocab, cfg.vocab)
        )

    def __call__(self, length: int, batch: int, generator: Generator) -> Batch:
        """Rows of `length` tokens; the first token is no context, so what follows it does not count."""
        return counted(self.draw(length + 1, batch, generator))

    def draw(self, length: int, batch: int, generator: Generator) -> Tokens:
        """Rows of at least two tokens, of which the first two are uniform."""
        at_least(2, length=length)
        at_least(0, batch=batch)
        found = list(torch.randint(self.cfg.vocab, (2, batch), generator=generator))
        for _ in range(length - 2):
            found.append(torch.multinomial(self.table[found[-2], found[-1]], 1, generator=generator)[:, 0])
        return torch.stack(found, 1)

    def log_probabilities(self, tokens: Tokens) -> Float[Tensor, "batch time vocab"]:
        """log p(next) after each token; after the first token, which is no context, uniform."""
        known_ids(self.cfg.vocab, tokens=tokens)
        before = tokens.roll(1, 1)
        found = self.table[before, tokens].log()
        found[:, :1] = -np.log(self.cfg.vocab)
        return found


def counted(tokens: Int[Tensor, "batch time_and_one"]) -> Batch:
    """Rows in which every next token counts but the second: it has no context of two."""
    targets = tokens[:, 1:]
    weight = torch.ones(targets.shape)
    weight[:, 0] = 0.0
    return Batch(tokens[:, :-1], targets, weight, torch.full(targets.shape, -1))


def _rows(cfg: MarkovConfig, number: int, seed: int) -> Float[Tensor, "number next"]:
    """Dirichlet rows; no entry is exactly 0."""
    rows = np.random.default_rng(seed).dirichlet([cfg.concentration] * cfg.vocab, size=number)
    return torch.from_numpy(rows).clamp_min(1e-6).float()
