"""Texts of a language with facts in them: `FACT key value`, and later `ASK key value`, where the value is asked for.

A fact is random: nothing but the text itself says it. How far the question lies from the fact, in tokens from one value
to the other, is what the experiments on recall change.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Generator

from lablib.core.config import Config
from lablib.core.refusals import at_least
from lablib.data.batch import Batch
from lablib.data.languages import Language, LanguageConfig

SLOT = 3  # tokens of a fact or a question


@dataclass(frozen=True, kw_only=True)
class FactsConfig(Config):
    """`facts` a text, each asked once, `nearest` to `farthest` tokens later; an answer counts as `answer_weight`."""

    language: LanguageConfig = LanguageConfig()
    num_keys: int = 16
    num_values: int = 16
    facts: int = 4
    nearest: int = 3
    farthest: int = 12
    answer_weight: float = 10.0

    limits: ClassVar = {"at least 1": "num_values", "at least 0": "answer_weight"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        facts, keys, nearest, farthest = self.facts, self.num_keys, self.nearest, self.farthest
        yield not 1 <= facts <= keys, f"facts is {facts}; expected 1 to num_keys={keys}, as keys do not repeat"
        wrong = not SLOT <= nearest <= farthest
        yield wrong, f"nearest={nearest}, farthest={farthest}: expected {SLOT} <= nearest <= farthest"
        between = f"expected a multiple of {SLOT} between them, as a fact takes {SLOT} tokens"
        yield -(-nearest // SLOT) > farthest // SLOT, f"nearest={nearest}, farthest={farthest}: {between}"

    @property
    def vocab(self) -> int:
        """The language, FACT, ASK, keys, values."""
        return self.language.vocab + 2 + self.num_keys + self.num_values


class Facts:
    """Draws texts. `evidence` is the position of a fact's value, where a question is answered, else -1."""

    def __init__(self, cfg: FactsConfig):
        self.cfg, self.language = cfg, Language(cfg.language)

    def __call__(self, length: int, batch: int, generator: Generator) -> Batch:
        """Rows of `length` tokens. Raises ValueError where the facts have no room."""
        at_least(0, batch=batch)
        cfg, slots = self.cfg, (length + 1) // SLOT
        if slots < 3 * cfg.facts or slots - -(-cfg.nearest // SLOT) < cfg.facts:
            raise ValueError(f"{cfg.facts} facts at {cfg.nearest} tokens and more have no room in {length} tokens")
        tokens = self.language.draw(length + 1, batch, generator)
        first_key = cfg.language.vocab + 2
        keys = torch.rand(batch, cfg.num_keys, generator=generator).argsort(1)[:, : cfg.facts] + first_key
        values = torch.randint(cfg.num_values, keys.shape, generator=generator) + first_key + cfg.num_keys
        seed = int(torch.randint(2**62, (), generator=generator))
        places = torch.from_numpy(place_pairs(np.random.default_rng(seed), batch, slots, cfg))
        weight, evidence = torch.ones(batch, length), torch.full((batch, length), -1)
        row = torch.arange(batch)
        for i in range(cfg.facts):
            for which, mark in enumerate((cfg.language.vocab, cfg.language.vocab + 1)):
                start = places[:, i, which] * SLOT
                for offset, token in enumerate((torch.tensor(mark), keys[:, i], values[:, i])):
                    tokens[row, start + offset] = token
            asked = places[:, i, 1] * SLOT + 1  # the position of the key, which predicts the value
            weight[row, asked] = cfg.answer_weight
            evidence[row, asked] = places[:, i, 0] * SLOT + 2
        return Batch(tokens[:, :-1], tokens[:, 1:], weight, evidence)


def place_pairs(draw: np.random.Generator, batch: int, slots: int, cfg: FactsConfig) -> np.ndarray:
    """(batch, facts, 2) slots of each fact and its question; none is used twice in a row.

    Drawn pair by pair. In a row that leaves a fact no pair of slots, all questions stand at the nearest distance.
    """
    near, far = -(-cfg.nearest // SLOT), min(cfg.farthest // SLOT, slots - 1)
    found = np.zeros((batch, cfg.facts, 2), dtype=np.int64)
    for row in range(batch):
        free = np.ones(slots, dtype=bool)
        for i in range(cfg.facts):
            if (pair := _free_pair(draw, free, near, far)) is None:
                starts = np.arange(slots - near)
                starts = draw.permutation(starts[starts // near % 2 == 0])[: cfg.facts]  # facts and questions apart
                found[row] = np.stack([starts, starts + near], axis=1)
                break
            free[list(pair)] = False
            found[row, i] = pair
    return found


def _free_pair(draw: np.random.Generator, free: np.ndarray, near: int, far: int) -> tuple[int, int] | None:
    """Two free slots `near` to `far` apart, drawn until both are free; None where there are no such slots."""
    for tries in itertools.count(1):
        apart = int(draw.integers(near, far + 1))
        start = int(draw.integers(0, len(free) - apart))
        if free[start] and free[start + apart]:
            return start, start + apart
        if tries % 100 == 0 and not any((free[:-n] & free[n:]).any() for n in range(near, far + 1)):
            return None
    return None
