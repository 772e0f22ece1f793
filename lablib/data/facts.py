"""Texts of a language with facts in them: `FACT key value`, and later `ASK key value`, where the value is asked for.

A fact is random: nothing but the text itself says it. How far the question lies from the fact, in tokens from one value
to the other, is what the experiments on recall change.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from lablib.core.config import Config
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

    def faults(self) -> Iterator[tuple[bool, str]]:
        facts, keys, nearest, farthest = self.facts, self.num_keys, self.nearest, self.farthest
        yield not 1 <= facts <= keys, f"facts is {facts}; expected 1 to num_keys={keys}, as keys do not repeat"
        wrong = not SLOT <= nearest <= farthest
        yield wrong, f"nearest={nearest}, farthest={farthest}: expected {SLOT} <= nearest <= farthest"

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
        cfg, slots = self.cfg, (length + 1) // SLOT
        if slots < 3 * cfg.facts or (slots - 1) * SLOT < cfg.nearest:
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
    """(batch, facts, 2) slots of each fact and its question; none is used twice in a row."""
    near, far = -(-cfg.nearest // SLOT), min(cfg.farthest // SLOT, slots - 1)
    found = np.zeros((batch, cfg.facts, 2), dtype=np.int64)
    for row in range(batch):
        taken: set[int] = set()
        for i in range(cfg.facts):
            while True:
                apart = int(draw.integers(near, far + 1))
                start = int(draw.integers(0, slots - apart))
                if not taken & {start, start + apart}:
                    break
            taken |= {start, start + apart}
            found[row, i] = start, start + apart
    return found
