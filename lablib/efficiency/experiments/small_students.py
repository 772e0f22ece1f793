"""A student that is too small to be the language: what it keeps, and who should teach it.

`efficiency/directions_rates`  the learning rate of each loss, on other languages than those reported
`efficiency/directions`        forward and reverse KL, on given text and on the student's own
`efficiency/gap`               teachers of its own size and larger, and the language itself

Directions, written before the runs: the notebook's log.
"""

from functools import partial
from typing import Any

from lablib.core.config import by_scale, grid
from lablib.core.experiment import experiment
from lablib.efficiency.distillation import MODEL, DistillationConfig
from lablib.efficiency.experiments.distillation import TUNING, spent, taught, way

TRIED = (4e-3, 1.6e-2, 6.4e-2, 2.56e-1)
SMALL = MODEL.replace(plan="swa", width=8, hidden=8)
LOSSES: dict[str, dict[str, Any]] = {
    "forward KL": {"beta": 0.0},
    "JSD": {"beta": 0.5},
    "reverse KL": {"beta": 1.0},
    "forward KL, own text": {"beta": 0.0, "labels": "own text"},
    "reverse KL, own text": {"beta": 1.0, "labels": "own text"},
    "teacher's text": {"labels": "teacher's text"},
}
# the best of `efficiency/directions_rates`: reverse KL by its own direction, on its own text, the others by the excess
RATES = {
    "forward KL": 2.56e-1, "JSD": 2.56e-1, "reverse KL": 2.56e-1,
    "forward KL, own text": 6.4e-2, "reverse KL, own text": 6.4e-2, "teacher's text": 2.56e-1,
}  # fmt: skip
WIDTHS = (8, 16, 32, 64)


def directions_rates_arms(scale: str) -> list[DistillationConfig]:
    """Each loss at four rates; three seeds of other languages."""
    ways = [small(name, scale, first_seed=TUNING, **how) for name, how in LOSSES.items()]
    return by_scale(scale, [arm for cfg in ways for arm in grid(cfg, train__optim__lr=TRIED)], lab=1, smoke=1, seeds=3)


def directions_arms(scale: str) -> list[DistillationConfig]:
    """Each loss at its best rate."""
    return by_scale(scale, [small(name, scale, **how) for name, how in LOSSES.items()], lab=(0, 2), smoke=(4,))


def small(name: str, scale: str, **changes: Any) -> DistillationConfig:
    """A small student of 16,000 tokens; its teacher reads fresh rows in every step."""
    rate = RATES.get(name, RATES["forward KL"])
    return way(name, scale, rate, student=SMALL, teacher__tokens=0, tokens=16_000, **changes)


def gap_arms(scale: str) -> list[DistillationConfig]:
    """Forward KL from a teacher of the student's shape, three larger ones, and the language."""
    make = partial(small, scale=scale)
    arms = [make("as small as the student", teacher__model=SMALL)]
    arms += [make(f"{width} channels", teacher__model=MODEL.replace(width=width, hidden=2 * width)) for width in WIDTHS]
    return by_scale(scale, [*arms, make("the language", labels="language")], lab=(0, 3), smoke=(0,))


directions_rates = experiment("efficiency/directions_rates", version=1, arms=directions_rates_arms, counted=spent)(
    taught
)
directions = experiment("efficiency/directions", version=1, arms=directions_arms, counted=spent)(taught)
gap = experiment("efficiency/gap", version=1, arms=gap_arms, counted=spent)(taught)
