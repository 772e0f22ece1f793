"""The curriculum trainer: follows the stages of a `Curriculum`, and whatever steers beside it."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from torch import Generator, Tensor

from lablib.data.batch import Batch
from lablib.longcontext.rows import Rows
from lablib.longcontext.stages import Curriculum
from lablib.nn.model import LanguageModel
from lablib.train.evaluate import accuracy
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit


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
