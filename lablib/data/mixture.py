"""Several sources in one stream: each row of a batch comes from one source, drawn by weight."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator

from lablib.core.refusals import at_least
from lablib.data.batch import Batch, every_next, joined, rows_of


class Mixture:
    """Sources with weights that a hook may change during training.

    `sources` are functions `(batch, generator) -> Batch` with rows of one length. Calling the mixture draws how many
    rows each source gives (multinomial in `weights`) and returns them in shuffled order.
    """

    def __init__(self, sources: Sequence[Callable[[int, Generator], Batch]], weights: Sequence[float]):
        self.sources, self.weights = list(sources), list(weights)
        self._check()

    def _check(self) -> None:
        weights = self.weights
        fit = len(self.sources) == len(weights) and all(0 <= weight < math.inf for weight in weights)
        if not fit or sum(weights) == 0:
            said = f"{len(self.sources)} sources with weights {weights}"
            raise ValueError(f"{said}; expected one weight >= 0 each, not all 0")

    def __call__(self, batch: int, generator: Generator) -> Batch:
        """At least one row."""
        at_least(1, batch=batch)
        self._check()
        weights = torch.tensor(self.weights, dtype=torch.float)
        chosen = torch.multinomial(weights, batch, replacement=True, generator=generator)
        counts = torch.bincount(chosen, minlength=len(self.sources)).tolist()
        parts = [source(count, generator) for source, count in zip(self.sources, counts, strict=True) if count]
        if len(lengths := {part.tokens.shape[1] for part in parts}) > 1:
            raise ValueError(f"the sources gave rows of {sorted(lengths)} tokens; expected one length")
        order = torch.randperm(batch, generator=generator)
        return rows_of(joined(parts), order)


def text_batch(tokens: torch.Tensor, length: int, batch: int, generator: Generator) -> Batch:
    """Stretches of a text, every next token counting; the targets reach one token past the row."""
    at_least(0, length=length, batch=batch)
    if len(tokens) <= length:
        raise ValueError(f"rows of {length} tokens and the one after need a longer text than {len(tokens)} tokens")
    starts = torch.randint(len(tokens) - length, (batch,), generator=generator)
    return every_next(tokens[starts[:, None] + torch.arange(length + 1)])


def copied_batch(rows: Batch) -> Batch:
    """Each row followed by itself (twice the length): the copy counts, token by token (self-copy; 2511.23319, 4.1)."""
    tokens = torch.cat([rows.tokens, rows.tokens], dim=1)
    half = rows.tokens.shape[1]
    place = torch.arange(2 * half)
    counts = (place >= half - 1) & (place < 2 * half - 1)  # the last token of a row says what its copy begins with
    evidence = torch.where(counts, place - half + 1, -1)
    weight, evidence = (row.expand_as(tokens).clone() for row in (counts.float(), evidence))
    return Batch(tokens, tokens.roll(-1, dims=1), weight, evidence)
