"""A family of sizes from one run, against each size alone and against training from scratch (arXiv 2511.16664).

`elastic/rates`   the learning rate of each way to train, on texts that nothing else uses
`elastic/family`  losses by budget, trained and untrained; by order, by loss, by training from scratch
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import torch

from lablib.core.config import Config, by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.core.store import lab_home
from lablib.core.weights_cache import weights_place
from lablib.data.batch import every_next
from lablib.data.skills import Skills, SkillsConfig
from lablib.elastic.budgets import Budget, sliced_config
from lablib.elastic.family import (
    BUDGETS,
    TRAINING,
    Family,
    ParentConfig,
    check_shares,
    held_out_texts,
    measured,
    step_flops,
    trained_parent,
)
from lablib.elastic.ranking import importance, permuted, random_order, ranked, reversed_order
from lablib.elastic.router import share_of
from lablib.elastic.saved import save_model
from lablib.elastic.slices import Slices
from lablib.nn.model import LanguageModel
from lablib.train.evaluate import budget
from lablib.train.loop import TrainConfig, fit
from lablib.train.optim import OptimConfig

UNIFORM = (1 / 3, 1 / 3, 1 / 3)
# the way from L over M and S on, and the MLPs alone; L, M and S are trained, the others are not
PATH = {
    "L": BUDGETS["L"],
    "L to M": Budget(width=60, hidden=168, mamba_heads=4),
    "M": BUDGETS["M"],
    "M to S": Budget(width=52, hidden=120, mamba_heads=3),
    "S": BUDGETS["S"],
    "below S": Budget(width=44, hidden=72, mamba_heads=2),
    "far below S": Budget(width=40, hidden=48, mamba_heads=1),
}
MLPS = {f"MLP {n}": Budget(hidden=n) for n in (168, 144, 120, 96, 72, 48)}
CALIBRATION = 256  # rows
TRIED = (4e-3, 8e-3, 1.6e-2, 3.2e-2)
# the best of `elastic/rates` by way to train, in the mean over the sizes that it trains
RATES = {"KD": 1.6e-2, "KD, S alone": 1.6e-2, "CE": 1.6e-2, "CE, L alone": 4e-3, "scratch": 8e-3}


@dataclass(frozen=True, kw_only=True)
class FamilyConfig(Config):
    """Budgets trained on their shares of the rows, from a trained parent or from scratch, as KD, CE or own teacher.

    order    how the parent is sorted before: by importance, as it is, at random, or the wrong way round
    length   tokens of a row, `keys` in use in it; `train.batch` rows a step
    """

    name: str = "family"
    seed: int = 0
    parent: ParentConfig = ParentConfig()
    start: Literal["parent", "scratch"] = "parent"
    order: Literal["ranked", "unranked", "random", "reversed"] = "ranked"
    objective: Literal["KD", "CE", "own teacher"] = "KD"
    sizes: tuple[str, ...] = ("L", "M", "S")
    shares: tuple[float, ...] = UNIFORM
    length: int = 64
    keys: int = 6
    train: TrainConfig = TrainConfig(steps=800, batch=32, log_every=50, optim=OptimConfig(lr=RATES["KD"]))
    rows: int = 512

    limits: ClassVar = {"at least 1": "length keys rows"}
    scales: ClassVar = {
        "smoke": {
            "parent": ParentConfig.at("smoke"), "train": TrainConfig(steps=3, batch=6, log_every=1), "length": 32,
            "rows": 8,
        },
    }  # fmt: skip

    def faults(self):
        unknown = [size for size in self.sizes if size not in BUDGETS]
        yield unknown, f"sizes holds {unknown}; expected some of {', '.join(BUDGETS)}"
        check_shares(self.sizes, self.shares)
        one = self.start == "scratch" and (len(self.sizes) > 1 or self.objective != "CE")
        yield one, f"start='scratch' trains one size by objective='CE'; got {self.sizes} and {self.objective!r}"


def way(name: str, scale: str = "full", steps: int | None = None, **changes: Any) -> FamilyConfig:
    """An arm by its name and what is different; its learning rate is the best of its way to train."""
    cfg = FamilyConfig.at(scale, name=name, **changes)
    kind = "CE" if cfg.objective == "CE" else "KD"
    kind = "scratch" if cfg.start == "scratch" else kind if len(cfg.sizes) > 1 else f"{kind}, {cfg.sizes[0]} alone"
    cfg = cfg.replace(train__optim__lr=RATES[kind])
    return cfg if steps is None or scale == "smoke" else cfg.replace(train__steps=steps)


def one(size: str) -> dict[str, Any]:
    """A size alone."""
    return {"sizes": (size,), "shares": (1.0,)}


def family_arms(scale: str) -> list[FamilyConfig]:
    """The family; orders; objectives; a size alone, with its share of the steps and with all; from scratch."""
    make = partial(way, scale=scale)
    scratch = {"start": "scratch", "objective": "CE"}
    full = [
        make("family"),
        make("family, random order", order="random"),
        make("family, reversed order", order="reversed"),
        make("family by CE", objective="CE"),
        make("family, own teacher", objective="own teacher"),
        make("S alone, a third", steps=267, **one("S")),
        make("S alone", **one("S")),
        make("S from scratch", **one("S"), **scratch),
        make("S from scratch, parent too", steps=2000, **one("S"), **scratch),
        make("L, further", objective="CE", **one("L")),
    ]
    return by_scale(scale, full, lab=(0, 5), smoke=(0, 7))


def save_family(cfg: FamilyConfig) -> Path:
    """Save the trained model of an arm, for `lab slice`; returns the folder, which lies in the lab's own store."""
    model, _ = trained(cfg)
    folder = lab_home() / "saved" / cfg.digest("elastic/family")
    save_model(folder, model.parent, {size: BUDGETS[size] for size in cfg.sizes} if cfg.start == "parent" else {})
    return folder


def spent(cfg: FamilyConfig) -> dict[str, float | int]:
    """The budget columns of the training alone, and its FLOPs if each size ran under masks on the whole parent."""
    shape = cfg.parent.model if cfg.start == "parent" else sliced_config(cfg.parent.model, BUDGETS[cfg.sizes[0]])
    model, teacher = Slices(LanguageModel(shape)), LanguageModel(cfg.parent.model)
    kept = {size: BUDGETS[size] if cfg.start == "parent" else None for size in cfg.sizes}
    objective = Family(kept, cfg.shares, cfg.objective, teacher)
    batch = every_next(torch.zeros(cfg.train.batch, cfg.length + 1, dtype=torch.long))
    flops = step_flops(model, objective, batch)
    masked = step_flops(model, Family({"all": None}, (1.0,), cfg.objective, teacher), batch)
    found = budget(model, tokens=cfg.train.steps * cfg.train.batch * cfg.length, flops=cfg.train.steps * flops)
    return found | {"masked_flops": cfg.train.steps * masked}


@experiment("elastic/family", version=1, arms=family_arms, counted=spent)
def family(cfg: FamilyConfig) -> pd.DataFrame:
    """Phase "train": losses by step and size. Phase "read": loss and skills by budget, trained and untrained."""
    model, table = trained(cfg)
    texts = held_out_texts(cfg.parent.skills.replace(keys=cfg.keys), cfg.length, cfg.rows, cfg.seed)
    shape, read = cfg.parent.model, []
    for name, kept in ((PATH | MLPS) if cfg.start == "parent" else {cfg.sizes[0]: None}).items():
        share = share_of(shape, BUDGETS[name] if kept is None else kept)
        read.append({"budget": name, "share": share, **measured(model, texts, kept)})
    if cfg.start == "parent":
        teacher = trained_parent(cfg.parent.replace(seed=cfg.seed))
        read.append({"budget": "teacher", "share": 1.0, **measured(teacher, texts)})
    return pd.concat([table.assign(phase="train"), pd.DataFrame(read).assign(phase="read")], ignore_index=True)


def build(cfg: FamilyConfig) -> tuple[Slices, Family]:
    """The model and the objective, before the training."""
    if cfg.start == "scratch":
        shape = sliced_config(cfg.parent.model, BUDGETS[cfg.sizes[0]])
        model = LanguageModel(shape, generator("initial weights", cfg.seed))
        return Slices(model), Family({cfg.sizes[0]: None}, cfg.shares, "CE")
    teacher = trained_parent(cfg.parent.replace(seed=cfg.seed))
    model = sorted_parent(teacher, cfg)
    return Slices(model), Family({size: BUDGETS[size] for size in cfg.sizes}, cfg.shares, cfg.objective, teacher)


def sorted_parent(parent: LanguageModel, cfg: FamilyConfig) -> LanguageModel:
    """A copy of the parent in the order of the configuration."""
    rows = Skills(cfg.parent.skills)(cfg.parent.length, CALIBRATION, generator("calibration", cfg.seed))
    scores = importance(parent, rows.tokens)
    if cfg.order == "unranked":
        scores = {axis: -score.new_tensor(range(len(score))) for axis, score in scores.items()}
    if cfg.order == "random":
        return permuted(parent, random_order(parent.cfg, scores, generator("noise", cfg.seed)))
    return permuted(parent, (reversed_order if cfg.order == "reversed" else ranked)(parent.cfg, scores))


def trained(cfg: FamilyConfig) -> tuple[Slices, pd.DataFrame]:
    """The trained model and its training table; interrupted, a later call goes on."""
    model, objective = build(cfg)
    place = weights_place("elastic/family", TRAINING, cfg.replace(rows=1, name="").digest())
    draw = partial(Skills(cfg.parent.skills.replace(keys=cfg.keys)), cfg.length)
    stream = generator("rows" if cfg.start == "scratch" else "further rows", cfg.seed)
    table = fit(model.train(), draw, cfg.train, stream, hooks=[objective], objective=objective, checkpoint=place)
    return model.eval(), table


# ---- the learning rates


def rates_arms(scale: str) -> list[FamilyConfig]:
    """Each way to train at four rates, in half as many steps, on a language and facts that nothing else uses."""
    alone, others = one("S"), SkillsConfig(table_seed=1, language=SkillsConfig().language.replace(table_seed=1))
    ways = [
        way("KD", scale, 400),
        way("KD, S alone", scale, 400, **alone),
        way("CE", scale, 400, objective="CE"),
        way("scratch", scale, 400, **alone, start="scratch", objective="CE"),
    ]
    ways = [cfg.replace(parent__skills=others) for cfg in ways]
    return by_scale(scale, [arm for cfg in ways for arm in grid(cfg, train__optim__lr=TRIED)], lab=1, smoke=1, seeds=3)


@experiment("elastic/rates", version=1, arms=rates_arms)
def rates(cfg: FamilyConfig) -> pd.DataFrame:
    """Loss and skills by budget."""
    model, _ = trained(cfg)
    texts = held_out_texts(cfg.parent.skills.replace(keys=cfg.keys), cfg.length, cfg.rows, cfg.seed)
    kept = {size: BUDGETS[size] if cfg.start == "parent" else None for size in cfg.sizes}
    return pd.DataFrame([{"budget": size, **measured(model, texts, each)} for size, each in kept.items()])
