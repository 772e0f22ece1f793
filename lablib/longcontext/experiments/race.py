"""Law, race or budget? The seesaw's runs watched circuit by circuit, and trained on to three times their length.

At equal training tokens every window answers at the training length; only the narrow ones retrieve far beyond it.
Here the same runs (the same seeds, bit by bit) are asked every 50 steps which circuit answers, and then go on. If
the wide model only lacked budget, its retrieval must come. If its weights could not retrieve, it must not come when
the windows are cut for the second part either. What keeps HSA from learning beside wide windows is not tested here.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lablib.core.config import by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator, seed_of
from lablib.longcontext.ablation import Circuits, windows_cut
from lablib.longcontext.experiments.seesaw import SeesawConfig, draw_rows
from lablib.longcontext.seesaw import RetrievalProbe
from lablib.nn.model import LanguageModel
from lablib.train.evaluate import budget, forward_flops
from lablib.train.loop import TrainConfig, fit


@dataclass(frozen=True, kw_only=True)
class RaceConfig(SeesawConfig):
    """A seesaw run and what follows it: `more` training with a fresh optimiser and schedule on new rows.

    `more_window` cuts the windows for that second part, and for the questions asked in it (None: as before).
    Asked at the training length and at the last of `lengths`, `every` so many steps of the first part and four times
    as many of the second.
    """

    lengths: tuple[int, ...] = (4096,)
    more: TrainConfig = TrainConfig(steps=1200, log_every=20)
    more_window: int | None = None
    every: int = 50

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield from super().faults()
        yield not self.lengths, "lengths is empty; expected at least one, the last of which is asked at"

    scales: ClassVar = {
        "smoke": {
            "train": TrainConfig(steps=4, batch=4, log_every=2),
            "more": TrainConfig(steps=4, batch=4, log_every=4),
            **{"lengths": (256,), "every": 1, "haystacks": 1, "questions": 2},
        },
        "lab": {"more": TrainConfig(steps=600, log_every=20), "haystacks": 2, "questions": 25},
    }
    limits: ClassVar = {"at least 1": "every more_window"}


def race_arms(scale: str) -> list[RaceConfig]:
    """The end windows with ten seeds, for shares of seeds; windows cut for the second part; one of 56."""
    base = RaceConfig.at(scale)
    narrow, wide, between = grid(base, model__window=[8, 64, 56])
    arms = [narrow, wide, wide.replace(more_window=8), between]
    return by_scale(scale, arms, lab=2, seeds=lambda cfg: 10 if cfg in (narrow, wide) else 5)


@experiment("longcontext/race", version=2, arms=race_arms)
def race(cfg: RaceConfig) -> pd.DataFrame:
    """A row a logged step, counted through both parts (`part` 1 and 2), with the circuits where they were asked."""
    model = LanguageModel(cfg.model, generator("weights", cfg.seed))
    draw, tables, done, flops = functools.partial(draw_rows, cfg, "train"), [], 0, 0
    first = (cfg.train, cfg.every, "training", model.window)
    second = (cfg.more, 4 * cfg.every, "second training", cfg.more_window or model.window)
    for part, (train, every, stream, window) in enumerate((first, second), start=1):
        seed, random = seed_of("questions", cfg.seed), generator(stream, cfg.seed)
        asks = Circuits(cfg.data, cfg.lengths[-1], every, seed, cfg.haystacks, cfg.questions)
        with windows_cut(model, window):
            table = fit(model, draw, train, random, hooks=[RetrievalProbe(), asks])
            flops += 3 * train.steps * forward_flops(model, train.batch, cfg.data.length)
        tables.append(table.assign(part=part, step=table["step"] + done))
        done += train.steps
    rows = cfg.train.steps * cfg.train.batch + cfg.more.steps * cfg.more.batch
    columns = budget(model, tokens=rows * cfg.data.length, flops=flops)
    return pd.concat(tables, ignore_index=True).assign(**columns)
