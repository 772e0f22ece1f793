"""Chains: two look-ups in a row, with one group of HSA layers and with two (arXiv 2511.23319, 3.1).

The inverse of RULER's variable tracking, which gives the value and asks for the names (arXiv 2404.06654). Here a
question names b, the haystack says [MARK b a] and [MARK a v], v is the answer, and another chain stands beside it:
who reads a value but cannot follow the chain is right half of the time. The first look-up tells what the second one
must look for, so a single HSA layer comes too early for it. To make chains learnable in this budget, a part of the
rows asks for one look-up on chains (a definition restated) and a part for one look-up of a value, and the HSA reads
join the residual stream (no bypass) and start as the identity. What the restated rows and the identity are worth is
part of the experiment.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pandas as pd

from lablib.core.config import by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.mixture import Mixture
from lablib.data.questions import check_questions
from lablib.data.retrieval import RetrievalConfig, restated_batch, training_batch
from lablib.longcontext.experiments.seesaw import SeesawConfig, measured_table
from lablib.longcontext.seesaw import RetrievalProbe, ask
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.loop import TrainConfig, fit

CHAINS = RetrievalConfig(task="tracking", hops=1, num_pairs=2)
GROUPS = {"one group": "swa memory swa+hsa swa", "two groups": "swa memory swa+hsa swa+hsa"}


@dataclass(frozen=True, kw_only=True)
class TrackingConfig(SeesawConfig):
    """A model for chains: `restated` and `needles` are the shares of rows with one look-up, the rest asks chains."""

    model: ModelConfig = ModelConfig(
        vocab=CHAINS.vocab, plan=GROUPS["two groups"], num_kv_heads=2, bypass=False, retrieval_init="identity-read"
    )
    data: RetrievalConfig = CHAINS
    train: TrainConfig = TrainConfig(steps=2000, log_every=50)
    lengths: tuple[int, ...] = (64, 1024, 16_384, 65_536)
    restated: float = 0.375
    needles: float = 0.25

    scales: ClassVar = SeesawConfig.scales | {
        "smoke": SeesawConfig.scales["smoke"] | {"train": TrainConfig(steps=4, batch=8, log_every=2)}
    }

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield from super().faults()
        one, other = self.restated, self.needles
        wrong = not (one >= 0 and other >= 0 and one + other < 1)
        yield wrong, f"shares restated={one} and needles={other}: expected >= 0, together < 1"
        task, hops = self.data.task, self.data.hops
        yield task != "tracking" or hops < 1, f"data is {task} with hops={hops}; expected chains of at least one hop"
        rows_of(self)  # rows that cannot be drawn are refused now
        for length in self.lengths:
            check_questions(self.data, length, num_needles=self.data.num_pairs)


def tracking_arms(scale: str) -> list[TrackingConfig]:
    """One and two groups at equal depth, narrow window; two with a wide one; two without what helps (exploratory)."""
    base = TrackingConfig.at(scale)
    arms = [*grid(base, model__plan=GROUPS.values()), base.replace(model__window=64)]
    without = [base.replace(restated=0.0), base.replace(model__retrieval_init="identity")]
    return by_scale(scale, arms + without, lab=2, seeds=lambda cfg: 3 if cfg in without else 5)


@experiment("longcontext/tracking", version=1, arms=tracking_arms)
def tracking(cfg: TrackingConfig) -> pd.DataFrame:
    """Train one model on the mixture and ask chains: rows with phase "train" by step and "test" by length.

    `exact` is the recall at a length, `lured` how often the value of the other chain was given instead.
    """
    model = LanguageModel(cfg.model, generator("weights", cfg.seed))
    training = fit(model, rows_of(cfg), cfg.train, generator("training", cfg.seed), hooks=[RetrievalProbe()])
    tests = []
    for length in cfg.lengths:
        random, chains = generator("questions", cfg.seed), cfg.data.num_pairs
        found = ask(model, cfg.data, length, cfg.haystacks, cfg.questions, random, num_needles=chains)
        exact, lured = float(np.mean(found["hit"])), float(np.mean(found["lured"]))
        tests.append({"phase": "test", "length": length, "exact": exact, "lured": lured})
    return measured_table(cfg, model, training.assign(phase="train"), pd.DataFrame(tests))


def rows_of(cfg: TrackingConfig) -> Mixture:
    """Chains, restated definitions and single needles in the shares of the configuration."""
    needles, shares = cfg.data.replace(task="needle", num_pairs=6), [cfg.restated, cfg.needles]
    draws = [(restated_batch, cfg.data), (training_batch, needles), (training_batch, cfg.data)]
    return Mixture([functools.partial(*draw) for draw in draws], [*shares, 1 - sum(shares)])
