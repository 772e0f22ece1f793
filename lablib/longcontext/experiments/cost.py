"""What length costs: CPU seconds and memory of attention and of whole questions, by length."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.core.measure import in_fresh_process
from lablib.data.questions import check_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.cost import Work, measure_cost


@dataclass(frozen=True, kw_only=True)
class CostConfig(Config):
    """One measurement of time and memory at a length; `seed` numbers the repetitions."""

    work: Work = "full attention"
    length: int = 16_384
    window: int = 512
    seed: int = 0
    isolated: bool = True  # in a process of its own

    scales: ClassVar = {"smoke": {"isolated": False}}
    limits: ClassVar = {"at least 1": "length window"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        if self.work == "whole model, one question":
            check_questions(RetrievalConfig(), self.length)
        yield from super().faults()


def cost_arms(scale: str) -> list[CostConfig]:
    """Doubling lengths for each kind of work; at full scale five repetitions."""
    lengths = {"smoke": [256, 512], "lab": [2048, 4096, 8192, 16_384], "full": [2048, 4096, 8192, 16_384]}[scale]
    seeds = range(5 if scale == "full" else 1)
    base = CostConfig.at(scale)
    attention = grid(base, work=["full attention", "sliding window"], length=lengths, seed=seeds)
    longest = 1024 if scale == "smoke" else 65_536
    return attention + grid(base.replace(work="whole model, one question"), length=[*lengths, longest], seed=seeds)


@experiment("longcontext/cost", version=2, arms=cost_arms)
def cost(cfg: CostConfig) -> pd.DataFrame:
    """CPU seconds and memory of one forward pass, measured in a process of its own."""
    arguments = (cfg.work, cfg.length, cfg.window, cfg.seed)
    found = in_fresh_process(measure_cost, *arguments) if cfg.isolated else measure_cost(*arguments)
    return pd.DataFrame([found])
