"""The curriculum trainer: its rows, and the hook that follows the stages of a `Curriculum`."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from torch import Generator, Tensor

from lablib.data.batch import Batch
from lablib.data.mixture import Mixture, copied_batch
from lablib.data.retrieval import RetrievalConfig, noise, restated_batch, training_batch
from lablib.longcontext.stages import KINDS, Curriculum
from lablib.nn.model import LanguageModel
from lablib.train.evaluate import accuracy
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit

Source = Callable[[int, Generator], Batch]
CHAINS = {"task": "tracking", "hops": 1, "num_pairs": 2}  # what "reasoning" asks: two look-ups, beside a second chain


class Rows:
    """Draws a batch of so many tokens; `lengths` and weights may be changed between two batches.

    `data` describes the needles at its own length; at other lengths their distances grow in proportion. Each row
    counts as one in the loss, be it one answer or sixty-three next tokens, so weights of kinds are shares of the loss.
    With `per_token` the number of needles grows in proportion too; otherwise long rows have fewer a token.
    """

    def __init__(self, data: RetrievalConfig, *, per_token: bool = False):
        self.data, self.per_token = data, per_token
        self.lengths: tuple[int, ...] = (data.length,)
        self.length_weights: list[float] = [1.0]
        self.kind_weights: list[float] = [1.0] + [0.0] * (len(KINDS) - 1)

    def __call__(self, tokens: int, generator: Generator) -> Batch:
        weights = torch.tensor(self.length_weights, dtype=torch.float)
        length = self.lengths[int(torch.multinomial(weights, 1, generator=generator))]
        sources = [self.source(kind, length) for kind in KINDS]
        return Mixture(sources, self.kind_weights)(tokens // length, generator)

    def source(self, kind: str, length: int) -> Source:
        """Rows of one kind and length, each with weights that sum to one.

        Beside KINDS there are "chains": those of "reasoning" without a definition restated, to measure by.
        """
        data = self.needles(length)
        draws: dict[str, Source] = {
            "retrieval": functools.partial(training_batch, data),
            "reasoning": functools.partial(_chains_batch, data),
            "chains": lambda rows, generator: training_batch(data.replace(**CHAINS), rows, generator),
            "plain": functools.partial(_plain_batch, data),
            "copied": lambda rows, generator: copied_batch(training_batch(self.needles(length // 2), rows, generator)),
        }

        def each_counts_one(rows: int, generator: Generator) -> Batch:
            batch = draws[kind](rows, generator)
            return batch._replace(weight=batch.weight / batch.weight.sum(dim=1, keepdim=True))

        return each_counts_one

    def needles(self, length: int) -> RetrievalConfig:
        """The needles of rows of one length."""
        data = at_length(self.data, length)
        return data.replace(num_pairs=data.num_pairs * length // self.data.length) if self.per_token else data


def at_length(data: RetrievalConfig, length: int) -> RetrievalConfig:
    """The same needles in rows of another length, with distances in proportion."""
    if length == data.length:
        return data
    farthest = max(data.max_distance * length // data.length, data.min_distance)
    return data.replace(length=length, max_distance=farthest)


def _plain_batch(data: RetrievalConfig, rows: int, generator: Generator) -> Batch:
    """The haystack alone: every next token counts."""
    tokens = noise(data, rows, data.length, generator)
    weight = torch.ones(tokens.shape)
    weight[:, -1] = 0.0  # what follows the row is not known
    return Batch(tokens, tokens.roll(-1, dims=1), weight, torch.full_like(tokens, -1))


def _chains_batch(data: RetrievalConfig, rows: int, generator: Generator) -> Batch:
    """Chains, half of them with a definition restated, as one look-up must be learnt before two (notebook 01)."""
    kinds = [functools.partial(draw, data.replace(**CHAINS)) for draw in (training_batch, restated_batch)]
    return Mixture(kinds, [1.0, 1.0])(rows, generator)


class FollowStages(Hook):
    """Sets what a token may read, and the rows to draw, to what the curriculum says of each step."""

    def __init__(self, curriculum: Curriculum, rows: Rows):
        self.curriculum, self.rows = curriculum, rows

    def before_step(self, step: int, model: LanguageModel) -> None:
        stage = self.curriculum.at_step(step)
        model.set_reading(self.curriculum.window_at(step), self.curriculum.top_k_at(step, model.cfg.chunk))
        self.rows.lengths, self.rows.length_weights = stage.lengths, list(stage.weights)
        self.rows.kind_weights = list(stage.mix.weights)

    def after_backward(self, step: int, model: LanguageModel, batch: Batch, logits: Tensor, row: dict) -> None:
        row |= {"stage": self.curriculum.number_at(step), "window": model.window, "top_k": model.top_k}
        row |= {"row_length": batch.tokens.shape[1], "rate": self.curriculum.rate_at(step)}
        row["accuracy"] = accuracy(logits, batch, batch.evidence >= 0)


def train_curriculum(
    model: LanguageModel, curriculum: Curriculum, rows: Rows, generator: Generator, *, hooks: Sequence[Hook] = (),
    **more: Any,
) -> pd.DataFrame:  # fmt: skip
    """Train `model` in place through all stages; a row a logged step, as `fit` returns it.

    `hooks` come after the stages and have the last word on window, top-k and weights. At the end the model reads what
    it read in the last step. `more` is the `checkpoint` and the `objective` of `fit`: resumes from a checkpoint across
    transitions too, and refuses one of another curriculum or another task.
    """
    same = {name: getattr(curriculum, name) for name in ("log_every", "checkpoint_every", "optim", "schedule")}
    cfg = TrainConfig(steps=curriculum.steps, batch=curriculum.tokens, **same)
    hooks = [FollowStages(curriculum, rows), *hooks]
    more = {"run": curriculum.digest(rows.data.digest()), "rate": curriculum.rate_at} | more
    table = fit(model, rows, cfg, generator, hooks=hooks, **more)
    last = table.iloc[-1]  # a finished run that was only read has not been set to what its last step let it read
    model.set_reading(int(last["window"]), int(last["top_k"]))
    return table
