"""Languages whose best possible prediction is known: what no model can beat, position by position.

A sequence follows a bigram table that it does not show; whoever has read enough of it knows the table better. The
tables come from `table_seed` alone, so that every model of a comparison meets the same language.

    TopicMixture   the sequence has one of `num_tables` whole tables: known after a few tokens
    RowMixture     each row of its table is one of `num_tables` prototypes of that row: takes many tokens to know
    OwnTables      each sequence has a table of its own: nothing is shared but the prior
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor

from lablib.core.config import Config
from lablib.core.refusals import at_least, known_ids
from lablib.data.batch import Batch, every_next

Tokens = Int[Tensor, "batch time"]
Losses = Float[Tensor, "batch time"]


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(Config):
    """A language over `vocab` tokens; `concentration`: of the Dirichlet prior of a row (small: few successors)."""

    kind: Literal["topics", "rows", "own tables"] = "rows"
    vocab: int = 16
    num_tables: int = 6
    concentration: float = 0.1
    table_seed: int = 0

    limits: ClassVar = {"at least 2": "vocab", "at least 1": "num_tables", "more than 0": "concentration"}


class Language:
    """Draws sequences, and gives the loss of the best predictor that knows the prior but not the sequence's table."""

    def __init__(self, cfg: LanguageConfig):
        self.cfg = cfg
        # (tables, previous token, next token); those of a language with own tables are drawn with each sequence
        self.tables = dirichlet(cfg, cfg.num_tables, Generator().manual_seed(cfg.table_seed))

    def __call__(self, length: int, batch: int, generator: Generator) -> Batch:
        """Rows of `length` tokens, every next token counting; the first token is uniform."""
        at_least(0, length=length)
        return every_next(self.draw(length + 1, batch, generator))

    def draw(self, length: int, batch: int, generator: Generator) -> Tokens:
        """Sequences of at least one token, each after a table of its own choice."""
        at_least(1, length=length)
        at_least(0, batch=batch)
        tables = self.tables_of_sequences(batch, generator)
        tokens = torch.randint(self.cfg.vocab, (batch, 1), generator=generator)
        place = torch.arange(batch)
        for _ in range(length - 1):
            following = torch.multinomial(tables[place, tokens[:, -1]], 1, generator=generator)
            tokens = torch.cat([tokens, following], dim=1)
        return tokens

    def tables_of_sequences(self, batch: int, generator: Generator) -> Float[Tensor, "batch prev next"]:
        cfg = self.cfg
        if cfg.kind == "own tables":
            return dirichlet(cfg, batch, generator)
        rows = 1 if cfg.kind == "topics" else cfg.vocab
        chosen = torch.randint(cfg.num_tables, (batch, rows), generator=generator).expand(batch, cfg.vocab)
        return self.tables[chosen, torch.arange(cfg.vocab)]

    def bayes(self, tokens: Tokens, targets: Tokens) -> Losses:
        """Nats at every position: -log p(target | all tokens up to here) under the language itself."""
        known_ids(self.cfg.vocab, tokens=tokens, targets=targets)
        if self.cfg.kind == "own tables":
            return self._urn(tokens, targets)
        # log p(next | prev, table) of what was seen: (batch, time, table)
        seen = self.tables.log()[:, tokens, targets].permute(1, 2, 0)
        if self.cfg.kind == "topics":
            evidence = seen.cumsum(1) - seen  # of the positions before
        else:  # only positions with the same previous token speak of its row
            same = (tokens[:, :, None] == tokens[:, None, :]).to(seen).tril(-1)
            evidence = same @ seen
        posterior = evidence.log_softmax(-1)
        return -(posterior + seen).logsumexp(-1)

    def _urn(self, tokens: Tokens, targets: Tokens) -> Losses:
        """A Dirichlet prior on each row: (times seen + concentration) / (all seen + vocab * concentration)."""
        cfg, same = self.cfg, (tokens[:, :, None] == tokens[:, None, :]).double().tril(-1)
        counts = same @ F.one_hot(targets, cfg.vocab).double()
        hits = counts.gather(-1, targets[..., None])[..., 0]
        chance = (hits + cfg.concentration) / (counts.sum(-1) + cfg.vocab * cfg.concentration)
        return -chance.log().float()


def dirichlet(cfg: LanguageConfig, number: int, generator: Generator) -> Float[Tensor, "number prev next"]:
    """Bigram tables with independent Dirichlet rows; no entry is exactly 0."""
    seed = int(torch.randint(2**62, (), generator=generator))  # torch draws from no Dirichlet with a generator
    rows = np.random.default_rng(seed).dirichlet([cfg.concentration] * cfg.vocab, size=(number, cfg.vocab))
    drawn = torch.from_numpy(rows).clamp_min(1e-9)
    return (drawn / drawn.sum(-1, keepdim=True)).float()
