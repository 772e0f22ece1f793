"""Few trainable parameters: what each way to tune learns and forgets, at its own best learning rate.

`efficiency/tuning_rates`  eight rates and more of each method on each shift, on other languages than those reported
`efficiency/tuning`        each method at its best rate: the new language, the old one, trained parameters
`efficiency/forgetting`    new transitions: what full tuning and LoRA lose for what they learn, by rate
`efficiency/ranks`         LoRA by rank, scaling and rate: does the best rate move?
`efficiency/capacity_rates`, `efficiency/capacity`   a language that is new altogether: where do few parameters end?

Directions, written before the runs: the notebook's log.
"""

from typing import Any

import pandas as pd

from lablib.core.config import by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.measure import count_flops
from lablib.data.batch import Batch
from lablib.data.markov import MarkovConfig
from lablib.efficiency.tuning import TuneConfig, excess_of, tuned_base, tuning_rows
from lablib.nn.model import LanguageModel
from lablib.nn.tuning import TuningConfig, tuned
from lablib.train.evaluate import budget
from lablib.train.losses import next_token_loss

TUNING = 100  # the first seed of the arms that rates are chosen by
RATES = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
SHIFTS = {
    "unigram": MarkovConfig(shift="unigram", strength=1.0),
    "transitions": MarkovConfig(shift="transitions", strength=0.3),
}
COUNTS = {"full": 0, "LoRA": 14, "rsLoRA": 14, "DoRA": 14, "adapters": 4, "BitFit": 14, "head": 0}
# a ninth rate where the best of eight was the first or the last; after it all curves are flat or rise at the ends
FURTHER = {("full", "unigram"): 3e-5, ("adapters", "transitions"): 1.0, ("BitFit", "transitions"): 1.0}
# the best of `efficiency/tuning_rates` by method, for the unigram shift and for new transitions
_BEST = {
    "full": (1e-4, 1e-3), "LoRA": (1e-3, 1e-2), "rsLoRA": (3e-4, 3e-3), "DoRA": (1e-3, 1e-2),
    "adapters": (1e-3, 3e-1), "BitFit": (1e-2, 1.0), "head": (1e-3, 3e-3),
}  # fmt: skip
BEST = {(name, shift): rate for name, rates in _BEST.items() for shift, rate in zip(SHIFTS, rates, strict=True)}


def method(name: str, **changes: Any) -> TuningConfig:
    """A way to tune with the number of parts that the model has."""
    return TuningConfig(method=name, count=COUNTS[name], **changes)


def arm(scale: str, name: str, rate: float, **changes: Any) -> TuneConfig:
    """An arm by its name and what is different."""
    return TuneConfig.at(scale, name=name).replace(train__optim__lr=rate, **changes)


def rates_arms(scale: str) -> list[TuneConfig]:
    """Three seeds of other languages."""
    arms = [
        arm(scale, name, rate, tuning=method(name), language=language, first_seed=TUNING)
        for shift, language in SHIFTS.items()
        for name in COUNTS
        for rate in (*RATES, *([FURTHER[name, shift]] if (name, shift) in FURTHER else []))
    ]
    return by_scale(scale, arms, lab=1, smoke=1, seeds=3)


def tuning_arms(scale: str) -> list[TuneConfig]:
    """Each method on each shift."""
    arms = [
        arm(scale, name, BEST[name, shift], tuning=method(name), language=language)
        for shift, language in SHIFTS.items()
        for name in COUNTS
    ]
    return by_scale(scale, arms, lab=(0, 1, 5), smoke=(1, 5))


def forgetting_arms(scale: str) -> list[TuneConfig]:
    """Full tuning and LoRA of two ranks at rates up to their best."""
    ways = {"full": method("full")} | {f"LoRA, rank {rank}": method("LoRA", rank=rank) for rank in (4, 16)}
    rates = {name: (1e-4, 3e-4, 1e-3) if name == "full" else (1e-3, 3e-3, 1e-2) for name in ways}
    arms = [arm(scale, name, rate, tuning=way) for name, way in ways.items() for rate in rates[name]]
    return by_scale(scale, arms, lab=(0, 3), smoke=(0,))


def ranks_arms(scale: str) -> list[TuneConfig]:
    """Six ranks, alpha by the rank and by its root, five rates; three seeds, exploratory."""
    base = arm(scale, "LoRA", 3e-3)
    arms = [
        base.replace(name=f"{name}, rank {rank}", tuning=method(name, rank=rank, alpha=4.0), train__optim__lr=rate)
        for name in ("LoRA", "rsLoRA")
        for rank in (1, 2, 4, 8, 16, 32)
        for rate in (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
    ]
    return by_scale(scale, arms, lab=(0,), smoke=(0,), seeds=3)


CAPACITY_RATES = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
# the best of `efficiency/capacity_rates`
CAPACITY_BEST = {"full": 3e-2, "LoRA, rank 1": 3e-2, "LoRA, rank 4": 1e-1, "LoRA, rank 16": 1e-1}


def all_new(scale: str) -> list[TuneConfig]:
    """All contexts new, and 64,000 tokens to learn them from: full tuning, and LoRA of rank 1, 4 and 16."""
    language = MarkovConfig(shift="transitions", strength=1.0)
    ways = {"full": method("full")} | {
        f"LoRA, rank {rank}": method("LoRA", rank=rank, alpha=4.0) for rank in (1, 4, 16)
    }
    arms = [
        arm(scale, name, CAPACITY_BEST[name], tuning=way, language=language, tokens=64_000)
        for name, way in ways.items()
    ]
    return arms if scale == "smoke" else [cfg.replace(train__steps=1000) for cfg in arms]


def capacity_rates_arms(scale: str) -> list[TuneConfig]:
    """Each way at six rates; three seeds of other languages."""
    arms = [cfg.replace(first_seed=TUNING) for cfg in all_new(scale)]
    return by_scale(
        scale, [each for cfg in arms for each in grid(cfg, train__optim__lr=CAPACITY_RATES)], lab=1, smoke=1, seeds=3
    )


def capacity_arms(scale: str) -> list[TuneConfig]:
    """Each way at its best rate."""
    return by_scale(scale, all_new(scale), lab=(0, 1), smoke=(1,))


def spent(cfg: TuneConfig) -> dict[str, float | int]:
    """The budget columns of the tuning; parameters are the trained ones."""
    model = tuned(LanguageModel(cfg.base.model), cfg.tuning, cfg.stream("noise"))
    rows = tuning_rows(cfg.replace(tokens=cfg.base.length))
    batch = Batch(*(column.expand(cfg.train.batch, -1) for column in rows))
    flops = count_flops(lambda: next_token_loss(model, batch)[0].backward())
    return budget(model, tokens=cfg.train.steps * cfg.train.batch * cfg.base.length, flops=cfg.train.steps * flops)


def learnt(cfg: TuneConfig) -> pd.DataFrame:
    """Phase "train": by step; "read": distances from both languages at the end, and those of the base."""
    model, base, table = tuned_base(cfg)
    excess = excess_of(cfg)
    found = excess.read(model.eval()) | {f"base_{name}": value for name, value in excess.read(base).items()}
    return pd.concat([table.assign(phase="train"), pd.DataFrame([found]).assign(phase="read")], ignore_index=True)


tuning_rates = experiment("efficiency/tuning_rates", version=1, arms=rates_arms, counted=spent)(learnt)
tuning = experiment("efficiency/tuning", version=1, arms=tuning_arms, counted=spent)(learnt)
forgetting = experiment("efficiency/forgetting", version=1, arms=forgetting_arms, counted=spent)(learnt)
ranks = experiment("efficiency/ranks", version=1, arms=ranks_arms, counted=spent)(learnt)
capacity_rates = experiment("efficiency/capacity_rates", version=1, arms=capacity_rates_arms, counted=spent)(learnt)
capacity = experiment("efficiency/capacity", version=1, arms=capacity_arms, counted=spent)(learnt)
