"""A second stage with long rows, and what it is good for: the control is as many further tokens in short rows.

`elastic/stages`  long rows, uniform and skewed; short rows; the same with rotary attention, by KD and by next tokens
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import pandas as pd

from lablib.core.config import Config, by_scale, later
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.core.weights_cache import weights_place
from lablib.data.skills import Skills
from lablib.elastic.experiments.family import RATES, UNIFORM, FamilyConfig, trained
from lablib.elastic.family import (
    BUDGETS,
    TRAINING,
    Family,
    check_shares,
    held_out_texts,
    measured,
    recall_by_distance,
    trained_parent,
)
from lablib.train.loop import TrainConfig, fit
from lablib.train.optim import OptimConfig


@dataclass(frozen=True, kw_only=True)
class StageConfig(Config):
    """A family that goes on: a second stage of `steps` with its own rows; then read on long rows.

    `long` and `long_keys` are the rows that everything is read on, tokens and keys.
    """

    name: str = "long, uniform"
    seed: int = 0
    first: FamilyConfig = FamilyConfig()
    length: int = 512
    keys: int = 24
    shares: tuple[float, ...] = UNIFORM
    train: TrainConfig = TrainConfig(steps=200, batch=4, log_every=50, optim=OptimConfig(lr=RATES["KD"] / 4))
    long: int = 512
    long_keys: int = 24
    rows: int = 128
    objective: Literal["KD", "CE"] = later("KD")

    limits: ClassVar = {"at least 1": "length keys long long_keys rows"}
    scales: ClassVar = {
        "smoke": {
            "first": FamilyConfig.at("smoke"), "train": TrainConfig(steps=2, batch=4, log_every=1), "length": 64,
            "long": 64, "rows": 8,
        },
    }  # fmt: skip

    def faults(self):
        check_shares(self.first.sizes, self.shares)
        yield from super().faults()


def stages_arms(scale: str) -> list[StageConfig]:
    """Long rows, uniform and with 0.2, 0.3, 0.5 for S, M, L; as many tokens in short rows; no second stage.

    Without positions, attention recalls at lengths that it never saw. With RoPE it has something to learn there, and
    the teacher does not know it: so also by next tokens.
    """
    base = StageConfig.at(scale)
    short = {
        "length": base.first.length,
        "keys": base.first.keys,
        "train__batch": base.train.batch * base.length // base.first.length,
    }
    full = [
        base,
        base.replace(name="long, more for L", shares=(0.5, 0.3, 0.2)),
        base.replace(name="short, uniform", **short),
        base.replace(name="no second stage", train__optim__lr=0.0, train__steps=1, **short),
    ]
    rope = base.first.parent.model.plan.replace("full-nope", "full")
    turned = [cfg.replace(name=f"RoPE: {cfg.name}", first__parent__model__plan=rope) for cfg in (full[0], *full[2:])]
    full += [*turned, *(cfg.replace(name=f"{cfg.name}, CE", objective="CE") for cfg in turned[:2])]
    return by_scale(scale, full, lab=(0, 2), smoke=(0, 4))


@experiment("elastic/stages", version=1, arms=stages_arms)
def stages(cfg: StageConfig) -> pd.DataFrame:
    """By size: loss and skills on long rows, and recall by distance."""
    model, _ = trained(cfg.first.replace(seed=cfg.seed))
    skills = cfg.first.parent.skills
    kept = {size: BUDGETS[size] for size in cfg.first.sizes}
    objective = Family(kept, cfg.shares, cfg.objective, trained_parent(cfg.first.parent.replace(seed=cfg.seed)))
    draw = partial(Skills(skills.replace(keys=cfg.keys)), cfg.length)
    place = weights_place("elastic/stages", TRAINING, cfg.replace(rows=1, name="").digest())
    stream = generator("second rows", cfg.seed)
    fit(model.train(), draw, cfg.train, stream, hooks=[objective], objective=objective, checkpoint=place)
    texts = held_out_texts(skills.replace(keys=cfg.long_keys), cfg.long, cfg.rows, cfg.seed)
    rows = []
    for size, budget_kept in kept.items():
        rows.append(pd.DataFrame([{"budget": size, **measured(model.eval(), texts, budget_kept)}]).assign(what="all"))
        distances = recall_by_distance(model, texts, budget_kept)
        rows.append(distances.assign(budget=size, what="by distance"))
    return pd.concat(rows, ignore_index=True)
