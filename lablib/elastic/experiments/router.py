"""The router, trained with the weights of the family: does it meet its targets, and what does it choose?

`elastic/router`  cost against target over the training, the budgets chosen, and the best of those that were not
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from lablib.core.config import Config, by_scale, later
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.batch import Batch, rows_of
from lablib.data.skills import Skills
from lablib.elastic.budgets import AXES, Budget, cost
from lablib.elastic.experiments.family import CALIBRATION, RATES, FamilyConfig, sorted_parent
from lablib.elastic.family import Texts, held_out_texts, measured, split_rows, trained_parent
from lablib.elastic.ranking import Metric, depth_order
from lablib.elastic.router import Router, RouterConfig, share_of, within
from lablib.elastic.slices import Masked, Slices
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig, fit
from lablib.train.losses import cross_entropy, forward_kl
from lablib.train.optim import Multipliers, OptimConfig

ATTENTION = 2  # the place of the parent's attention layer


@dataclass(frozen=True, kw_only=True)
class RouteConfig(Config):
    """A router on a ranked parent; `depth_metric` orders the layers, and `last` of them is then put last.

    The router learns at a rate of its own.

    `cells` budgets at each target, at most, are tried to find the best one.
    """

    name: str = "homogeneous"
    seed: int = 0
    family: FamilyConfig = FamilyConfig()
    router: RouterConfig = RouterConfig()
    router_rate: float = 1e-2
    depth_metric: Metric = "KL"
    train: TrainConfig = TrainConfig(steps=400, batch=32, log_every=20, optim=OptimConfig(lr=RATES["KD"]))
    cells: int = 40
    last: int | None = later(None)

    limits: ClassVar = {"at least 1": "cells"}
    scales: ClassVar = {
        "smoke": {
            "family": FamilyConfig.at("smoke"), "train": TrainConfig(steps=2, batch=6, log_every=1), "cells": 2,
        },
    }  # fmt: skip

    def faults(self) -> Iterator[tuple[Any, str]]:
        many = len(self.family.parent.model.layers.layers)
        out = self.last is not None and not 0 <= self.last < many
        yield out, f"last is {self.last}; expected a layer, 0 to {many - 1}, or None"


class Routed(nn.Module):
    """The parent under masks with its router: what the optimiser sees."""

    def __init__(self, masked: Masked, router: Router):
        super().__init__()
        self.masked, self.router = masked, router


class Routing(Hook):
    """The objective: KL from the teacher under the masks of each target, and the cost of its choices."""

    def __init__(self, cfg: RouteConfig, teacher: nn.Module, noise: Generator):
        self.cfg, self.teacher, self.noise, self.step = cfg, teacher, noise, 0
        self.shares: list[float] = []

    def before_step(self, step: int, model: Routed) -> None:
        self.step = step

    def at_eval(self, step: int, model: Routed, row: dict[str, Any]) -> None:
        for i, target in enumerate(self.cfg.router.targets):
            row[f"expected {target}"] = self.shares[i]
            row[f"share {target}"] = share_of(model.router.parent, model.router.budget(i))

    def __call__(self, model: Routed, batch: Batch) -> tuple[Tensor, Tensor]:
        """Each target has its share of the rows."""
        many = len(self.cfg.router.targets)
        counts = split_rows(len(batch.tokens), [1 / many] * many, self.step)
        with torch.no_grad():
            wanted = self.teacher(batch.tokens)
        progress = self.step / max(1, self.cfg.train.steps - 1)
        losses, found, self.shares, start = [], [], [], 0
        for i, count in enumerate(counts):
            part, stop = rows_of(batch, slice(start, start + count)), start + count
            choices = model.router.draw(i, progress, self.noise)
            if count:
                logits = model.masked(part.tokens, model.router.masks(choices))
                share = part.weight.sum() / batch.weight.sum()
                losses.append(forward_kl(wanted[start:stop], logits, part.weight) * share)
                found.append(logits)
            losses.append(self.cfg.router.cost_weight * model.router.cost_loss(choices, i) / many)
            self.shares.append(
                float(model.router.expected_parameters(choices).detach()) / cost(model.router.parent).parameters
            )
            start = stop
        return sum(losses), torch.cat(found)


def router_arms(scale: str) -> list[RouteConfig]:
    """Homogeneous and heterogeneous, soft and straight-through, three more weights of the cost, worse depth orders."""
    base = RouteConfig.at(scale)
    full = [
        base,
        base.replace(name="heterogeneous", router__heterogeneous=True),
        base.replace(name="straight-through", router__mix="straight-through"),
        base.replace(name="depth by nMSE", depth_metric="nMSE"),
        base.replace(name="heterogeneous, depth by nMSE", depth_metric="nMSE", router__heterogeneous=True),
        base.replace(name="attention last", last=ATTENTION),
        base.replace(name="heterogeneous, attention last", last=ATTENTION, router__heterogeneous=True),
        *(base.replace(name=f"cost weight {weight:g}", router__cost_weight=weight) for weight in (1.0, 3.0, 30.0)),
    ]
    seeds = lambda cfg: 3 if cfg.name.startswith("cost weight") else 5  # noqa: E731
    return by_scale(scale, full, lab=(0,), smoke=(1,), seeds=seeds)


@experiment("elastic/router", version=1, arms=router_arms)
def router(cfg: RouteConfig) -> pd.DataFrame:
    """Phase "train": cost against target by step. Phase "read": what was chosen, and the best that was possible."""
    family = cfg.family.replace(seed=cfg.seed)
    teacher = trained_parent(family.parent.replace(seed=cfg.seed))
    parent = sorted_parent(teacher, family)
    rows = Skills(family.parent.skills)(family.length, CALIBRATION, generator("calibration", cfg.seed))
    depth = depth_order(parent, rows, cfg.depth_metric)
    depth = tuple(layer for layer in depth if layer != cfg.last) + ((cfg.last,) if cfg.last is not None else ())
    noise = generator("noise", cfg.seed)
    model = Routed(Masked(parent), Router(cfg.router.replace(depth=depth), parent.cfg, noise))
    routing = Routing(cfg, teacher, noise)
    draw, faster = (
        partial(Skills(family.parent.skills), family.length),
        Multipliers(cfg.router_rate / cfg.train.optim.lr),
    )
    table = fit(
        model.train(), draw, cfg.train, generator("further rows", cfg.seed), hooks=[routing], objective=routing,
        multipliers=lambda name, _: faster if name.startswith("router.") else Multipliers(),
    )  # fmt: skip
    texts = held_out_texts(family.parent.skills, family.length, family.rows, cfg.seed)
    model.eval()
    read = [row for i in range(len(cfg.router.targets)) for row in chosen(cfg, model, rows, texts, i)]
    return pd.concat([table.assign(phase="train"), pd.DataFrame(read).assign(phase="read")], ignore_index=True)


@torch.no_grad()
def chosen(cfg: RouteConfig, model: Routed, rows: Batch, texts: Texts, target: int) -> list[dict[str, Any]]:
    """At a target: the router's budget; the masks that it was trained with; the best budget of those tried.

    The best is chosen on the calibration rows and read on the held-out ones, as the router's is.
    """
    slices, parent, wanted = Slices(model.masked.parent), model.router.parent, cfg.router.targets[target]
    found = model.router.budget(target)
    near = sorted(within(model.router.cfg, parent, wanted), key=lambda cell: -share_of(parent, cell))[: cfg.cells]
    loss = lambda cell: float(cross_entropy(slices(rows.tokens, cell), rows.targets, rows.weight))  # noqa: E731
    best = min(near, key=loss, default=found)
    soft = model.router.masks(model.router.last(target))
    told = [("router", found, measured(slices, texts, found)), ("best of those tried", best, None)]
    lines = [
        {"what": what, "target": wanted, "share": share_of(parent, budget), "tried": len(near), "chosen": spelt(budget)}
        | (read or measured(slices, texts, budget))
        for what, budget, read in told
    ]
    under = measured(lambda tokens: model.masked(tokens, soft), texts)
    return [*lines, {"what": "soft masks", "target": wanted, **under}]


def spelt(budget: Budget) -> str:
    """A budget in words, as a table shows it."""
    return ", ".join(f"{axis} {getattr(budget, axis)}" for axis in AXES if getattr(budget, axis) is not None)
