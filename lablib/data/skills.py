"""Texts that ask for three skills at once, scored apart: to predict words, to know facts, to recall what was just said.

A row repeats a cycle of 15 tokens:

    BIND key value   word word   BIND key value   word word   FACT a b c answer

    text     words follow one of a few bigram tables, drawn for each row and never named
    facts    (a, b, c) -> answer is a fixed random table: only weights can hold it, so small models hold less of it
    recall   key -> value is drawn anew for each row: a value can be predicted from the second time on

What a skill predicts counts `answer_weight` times as much as a word. The value of a key that was not there before
cannot be known and does not count.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from einops import rearrange
from jaxtyping import Bool
from torch import Generator, Tensor

from lablib.core.config import Config
from lablib.core.refusals import at_least
from lablib.data.batch import Batch
from lablib.data.languages import Language, LanguageConfig

CYCLE = 15
WORDS, VALUES, ANSWER = (3, 4, 8, 9), (2, 7), 14  # places in a cycle
SKILLS = ("text", "facts", "recall")


@dataclass(frozen=True, kw_only=True)
class SkillsConfig(Config):
    """`keys` in use of `num_keys` in a row; facts: every triple of symbols, of which the first has `first_symbols`."""

    language: LanguageConfig = LanguageConfig(kind="topics", vocab=32, num_tables=4)
    keys: int = 6
    num_keys: int = 24
    num_values: int = 16
    first_symbols: int = 24
    symbols: int = 8
    num_answers: int = 24
    answer_weight: float = 4.0
    table_seed: int = 0

    limits: ClassVar = {"at least 1": "num_values symbols num_answers", "at least 0": "answer_weight"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        first = self.first_symbols
        yield not 1 <= self.keys <= self.num_keys, f"keys is {self.keys}; expected 1 to num_keys={self.num_keys}"
        yield first < self.symbols, f"first_symbols is {first}; expected at least symbols={self.symbols}"

    @property
    def vocab(self) -> int:
        """Words, BIND, FACT, keys, values, symbols, answers."""
        return self.language.vocab + 2 + self.num_keys + self.num_values + self.first_symbols + self.num_answers


class Skills:
    """Draws rows. `evidence` is the position of the value that a recalled one repeats, else -1."""

    def __init__(self, cfg: SkillsConfig):
        self.cfg, self.language = cfg, Language(cfg.language)
        shape = (cfg.first_symbols, cfg.symbols, cfg.symbols)
        self.answers = torch.randint(cfg.num_answers, shape, generator=Generator().manual_seed(cfg.table_seed))

    def __call__(self, length: int, batch: int, generator: Generator) -> Batch:
        """Rows of `length` tokens, from the beginning of a cycle."""
        at_least(1, length=length)
        at_least(0, batch=batch)
        cfg, cycles = self.cfg, length // CYCLE + 1
        mark, rows = cfg.language.vocab, torch.zeros(batch, cycles, CYCLE, dtype=torch.long)
        words = self.language.draw(len(WORDS) * cycles, batch, generator)
        rows[:, :, WORDS] = rearrange(words, "b (c w) -> b c w", c=cycles)
        rows[:, :, (0, 5)], rows[:, :, 10] = mark, mark + 1
        key, value, before = self._bindings(batch, 2 * cycles, generator)
        rows[:, :, (1, 6)] = rearrange(key + mark + 2, "b (c two) -> b c two", two=2)
        rows[:, :, VALUES] = rearrange(value + mark + 2 + cfg.num_keys, "b (c two) -> b c two", two=2)
        symbols = mark + 2 + cfg.num_keys + cfg.num_values
        sizes = (cfg.first_symbols, cfg.symbols, cfg.symbols)
        asked = [torch.randint(size, (batch, cycles), generator=generator) for size in sizes]
        rows[:, :, 11:ANSWER] = torch.stack(asked, -1) + symbols
        rows[:, :, ANSWER] = self.answers[tuple(asked)] + symbols + cfg.first_symbols
        weight, evidence = torch.ones(rows.shape), torch.full(rows.shape, -1)
        weight[:, :, ANSWER] = cfg.answer_weight
        weight[:, :, VALUES] = rearrange(cfg.answer_weight * (before >= 0), "b (c two) -> b c two", two=2).float()
        places = torch.tensor(VALUES) + CYCLE * torch.arange(cycles)[:, None]
        where = torch.where(before >= 0, places.flatten()[before], -1)
        evidence[:, :, VALUES] = rearrange(where, "b (c two) -> b c two", two=2)
        tokens, weight, evidence = (part.flatten(1) for part in (rows, weight, evidence))
        # a position speaks of the token behind it
        return Batch(tokens[:, :length], *(part[:, 1 : length + 1] for part in (tokens, weight, evidence)))

    def _bindings(self, batch: int, number: int, generator: Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Key and value of each binding, and which binding had this key last (-1: none)."""
        cfg = self.cfg
        keys = torch.rand(batch, cfg.num_keys, generator=generator).argsort(1)[:, : cfg.keys]
        values = torch.randint(cfg.num_values, (batch, cfg.keys), generator=generator)
        chosen = torch.randint(cfg.keys, (batch, number), generator=generator)
        same = (chosen[:, :, None] == chosen[:, None, :]).tril(-1)
        before = torch.where(same, torch.arange(number), -1).amax(-1)
        return keys.gather(1, chosen), values.gather(1, chosen), before

    def parts(self, batch: Batch) -> dict[str, Bool[Tensor, "batch time"]]:
        """Which positions ask for which skill."""
        answers = self.cfg.vocab - self.cfg.num_answers
        masks = batch.targets < self.cfg.language.vocab, batch.targets >= answers, batch.evidence >= 0
        return dict(zip(SKILLS, masks, strict=True))
