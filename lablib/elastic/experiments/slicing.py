"""Cutting a trained parent without training: by which order, and which layers.

`elastic/slicing`     ranked, unranked, random and reversed order, by axis and jointly
`elastic/recovery`    the first steps of the family's training, by the order of the cut
`elastic/depth`       what leaving out a layer costs, and what metrics say of it
`elastic/latency`     bytes and CPU seconds of a budget under masks, on views, and as a copy
`elastic/ranks`       how stable the ranks are: by calibration rows, by training, by number of heads
"""

import statistics
from dataclasses import dataclass
from typing import ClassVar, Literal

import pandas as pd
import torch

from lablib.core.config import Config, by_scale, grid
from lablib.core.cpu_time import timed
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.core.stats import rank_correlation
from lablib.data.skills import Skills
from lablib.elastic.budgets import Budget, kind_of
from lablib.elastic.experiments.family import CALIBRATION, FamilyConfig, trained, way
from lablib.elastic.family import BUDGETS, PARENT, ParentConfig, held_out_texts, measured, trained_parent
from lablib.elastic.ranking import (
    METRICS,
    Order,
    across_groups,
    depth_order,
    depth_scores,
    importance,
    permuted,
    random_order,
    ranked,
    reversed_order,
)
from lablib.elastic.router import share_of
from lablib.elastic.slices import Masked, Slices, masks, shared_bytes, sliced
from lablib.nn.model import LanguageModel

CUTS = {
    "MLP 3/4": Budget(hidden=144),
    "MLP 1/2": Budget(hidden=96),
    "MLP 1/4": Budget(hidden=48),
    "width 7/8": Budget(width=56),
    "width 3/4": Budget(width=48),
    "Mamba heads 3/4": Budget(mamba_heads=3),
    "Mamba heads 1/2": Budget(mamba_heads=2),
    "Mamba channels 3/4": Budget(mamba_channels=6),
    "attention heads 1/2": Budget(heads=2),
    "all axes, M": BUDGETS["M"],
    "all axes, S": BUDGETS["S"],
}
SIXTEEN = PARENT.replace(plan=PARENT.plan.replace("8x8", "16x4"))  # as many Mamba channels, in 16 heads


@dataclass(frozen=True, kw_only=True)
class CutConfig(Config):
    """A parent and what it is read on: `calibration` rows for scores, `rows` held out; `orders` random ones."""

    seed: int = 0
    parent: ParentConfig = ParentConfig()
    orders: int = 5
    calibration: int = CALIBRATION
    rows: int = 512

    limits: ClassVar = {"at least 1": "orders calibration rows"}
    scales: ClassVar = {"smoke": {"parent": ParentConfig.at("smoke"), "orders": 1, "calibration": 8, "rows": 8}}


def cut_arms(scale: str) -> list[CutConfig]:
    """One arm a seed."""
    return by_scale(scale, [CutConfig.at(scale)])


def _parent_and_rows(cfg: CutConfig):
    parent = trained_parent(cfg.parent.replace(seed=cfg.seed))
    rows = Skills(cfg.parent.skills)(cfg.parent.length, cfg.calibration, generator("calibration", cfg.seed))
    return parent, rows, held_out_texts(cfg.parent.skills, cfg.parent.length, cfg.rows, cfg.seed)


@experiment("elastic/slicing", version=1, arms=cut_arms)
def slicing(cfg: CutConfig) -> pd.DataFrame:
    """A row a cut and order: loss and skills, without any training. `draw` numbers the random orders."""
    parent, rows, texts = _parent_and_rows(cfg)
    shape, scores, noise = parent.cfg, importance(parent, rows.tokens), generator("noise", cfg.seed)
    as_it_is = Order({axis: torch.arange(len(score)) for axis, score in scores.items()})
    orders = [("ranked", 0, ranked(shape, scores)), ("unranked", 0, as_it_is)]
    orders += [("after the nonlinearity", 0, ranked(shape, importance(parent, rows.tokens, after=True)))]
    orders += [("reversed", 0, reversed_order(shape, scores))]
    orders += [("random", i, random_order(shape, scores, noise)) for i in range(cfg.orders)]
    found = [{"cut": "nothing", "order": "unranked", "draw": 0, "share": 1.0, **measured(parent, texts)}]
    for order, draw, places in orders:
        model = Slices(permuted(parent, places))
        for cut, budget in CUTS.items():
            told = {"cut": cut, "order": order, "draw": draw, "share": share_of(shape, budget)}
            found.append(told | measured(model, texts, budget))
    broken = permuted(parent, across_groups(shape, scores), break_groups=True)
    found.append({"cut": "nothing", "order": "across groups", "draw": 0, "share": 1.0, **measured(broken, texts)})
    return pd.DataFrame(found)


def recovery_arms(scale: str) -> list[FamilyConfig]:
    """Three orders, at a learning rate that stays after its warm-up."""
    start = {"train__log_every": 1, "train__schedule__shape": "constant"}
    orders = [way(order, scale, 100, order=order).replace(**start) for order in ("ranked", "random", "reversed")]
    return by_scale(scale, orders, lab=(0, 2), smoke=1)


@experiment("elastic/recovery", version=1, arms=recovery_arms)
def recovery(cfg: FamilyConfig) -> pd.DataFrame:
    """A row a step: KL from the teacher of each size, before the step's update. At step 1 nothing is trained."""
    return trained(cfg)[1]


@experiment("elastic/depth", version=1, arms=cut_arms)
def depth(cfg: CutConfig) -> pd.DataFrame:
    """A row a layer and metric: its score and place in the order, by one pass and iteratively; and the true damage."""
    parent, rows, texts = _parent_and_rows(cfg)
    model, layers = Slices(parent), range(len(parent.blocks))
    whole = measured(parent, texts)
    without = {j: measured(model, texts, Budget(layers=tuple(i for i in layers if i != j))) for j in layers}
    found = []
    for metric in METRICS:
        scores = depth_scores(parent, rows, metric)
        orders = [depth_order(parent, rows, metric, iterative=again) for again in (False, True)]
        for layer in layers:
            row = {"metric": metric, "layer": layer, "kind": _kind(parent, layer), "score": scores[layer]}
            row |= {"place": orders[0].index(layer), "place_iterative": orders[1].index(layer)}
            found.append(row | without[layer] | {"loss_whole": whole["loss"], "recall_whole": whole["recall"]})
    return pd.DataFrame(found)


def _kind(parent, layer: int) -> str:
    return {"mamba2": "Mamba-2", "relu2": "MLP"}.get(kind := kind_of(parent.cfg.layers.layers[layer]), kind)


@dataclass(frozen=True, kw_only=True)
class RanksConfig(Config):
    """Ranks by calibration sets of `sizes` rows, before and after the family was trained, of one shape of parent."""

    name: str = "8 Mamba heads"
    seed: int = 0
    family: FamilyConfig = FamilyConfig()
    sizes: tuple[int, ...] = (16, 64, 256, 1024)

    limits: ClassVar = {"at least 1": "sizes"}
    scales: ClassVar = {"smoke": {"family": FamilyConfig.at("smoke"), "sizes": (4, 8)}}


def ranks_arms(scale: str) -> list[RanksConfig]:
    """With 8 and with 16 Mamba heads: three seeds, exploratory."""
    base = RanksConfig.at(scale)
    more = base.replace(name="16 Mamba heads", family__parent__model=SIXTEEN)
    return by_scale(scale, [base, more], lab=1, smoke=1, seeds=3)


@experiment("elastic/ranks", version=1, arms=ranks_arms)
def ranks(cfg: RanksConfig) -> pd.DataFrame:
    """Rank correlations with the largest set before training, by axis; losses without half of the Mamba heads."""
    family = cfg.family.replace(seed=cfg.seed, order="unranked")
    parent = trained_parent(family.parent.replace(seed=cfg.seed))
    rows = Skills(family.parent.skills)(family.parent.length, max(cfg.sizes), generator("calibration", cfg.seed)).tokens
    base, found = importance(parent, rows), []
    after = importance(trained(family)[0].parent, rows)
    sets = {f"{size} rows": importance(parent, rows[:size]) for size in cfg.sizes[:-1]}
    for what, scores in (sets | {"after the family's training": after}).items():
        for axis, score in scores.items():
            agreed = rank_correlation(base[axis], score)
            found.append({"what": what, "axis": axis.name, "layer": axis.layer, "correlation": agreed})
    texts = held_out_texts(family.parent.skills, family.length, family.rows, cfg.seed)
    half = parent.cfg.layers.layers[0].heads[0].number // parent.cfg.groups // 2
    noise = generator("noise", cfg.seed)
    orders = {"ranked": [ranked(parent.cfg, base)], "random": [random_order(parent.cfg, base, noise) for _ in range(5)]}
    for what, several in orders.items():
        for order in several:
            cut = measured(Slices(permuted(parent, order)), texts, Budget(mamba_heads=half))
            found.append({"what": f"half of the Mamba heads, {what}", "axis": "heads", "layer": -1, **cut})
    return pd.DataFrame(found)


@dataclass(frozen=True, kw_only=True)
class LatencyConfig(Config):
    """A forward pass of a wide parent without training; `seed` numbers the repetitions."""

    way: Literal["masks", "views", "copy"] = "copy"
    size: str = "S"
    seed: int = 0
    factor: int = 4  # of the parent's width, neurons and heads
    rows: int = 8
    length: int = 128
    repeats: int = 5

    limits: ClassVar = {"at least 1": "factor rows length repeats"}
    scales: ClassVar = {"smoke": {"factor": 1, "rows": 1, "length": 16, "repeats": 1}}


def latency_arms(scale: str) -> list[LatencyConfig]:
    """Each way at each size, five repetitions."""
    arms = grid(LatencyConfig.at(scale), way=("masks", "views", "copy"), size=tuple(BUDGETS))
    return by_scale(scale, arms, smoke=3)


@experiment("elastic/latency", version=1, arms=latency_arms)
def latency(cfg: LatencyConfig) -> pd.DataFrame:
    """CPU seconds of a forward pass (median), bytes of the weights that it needs, and how many are the parent's own."""
    shape, n = PARENT, cfg.factor
    words = [word.replace("8x8", f"{8 * n}x8").replace("4x16", f"{4 * n}x16") for word in shape.plan.split()]
    plan = " ".join(word.replace("192", str(192 * n)) for word in words)
    parent = LanguageModel(shape.replace(plan=plan, width=n * shape.width), generator("initial weights", cfg.seed))
    kept = {axis: value for axis, value in BUDGETS[cfg.size].flat().items() if value is not None}
    budget = Budget(**{axis: n * value for axis, value in kept.items()})
    tokens = torch.randint(PARENT.vocab, (cfg.rows, cfg.length), generator=generator("rows", cfg.seed))
    weights = dict(parent.named_parameters())
    shared, whole = shared_bytes(weights, parent.cfg, budget)
    if cfg.way == "masks":
        model, given = Masked(parent), masks(parent.cfg, budget)
        call = lambda: model(tokens, given)  # noqa: E731
        shared = whole = sum(4 * weight.numel() for weight in weights.values())
    elif cfg.way == "views":
        slices = Slices(parent)
        call = lambda: slices(tokens, budget)  # noqa: E731
    else:
        small, shared = sliced(parent, budget), 0
        call = lambda: small(tokens)  # noqa: E731
    with torch.no_grad():
        call()
        seconds = statistics.median(timed(call)[1] for _ in range(cfg.repeats))
    return pd.DataFrame([{"seconds": seconds, "weight_bytes": whole, "shared_bytes": shared}])
