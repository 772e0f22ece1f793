"""Several users of one base, each with a language of their own: what is kept for each, and what can be shared.

    each alone    a tuning a user, of the user's rows alone (personalisation; many tasks on one base)
    one for all   one tuning of the rows of all users
    averaged      users keep their rows; in each round all begin at the shared weights, train, and the trained
                  weights are averaged (federated averaging, arXiv 1602.05629)

With LoRA the factors are averaged apart: mean(B) mean(A) is not mean(B A).
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Generator, nn

from lablib.core.config import Config
from lablib.data.batch import Batch, joined
from lablib.efficiency.tuning import TuneConfig, excess_of, rows_drawn, trained_base, tuning_rows
from lablib.nn.tuning import trainable, tuned
from lablib.train.loop import fit
from lablib.train.schedule import factor


@dataclass(frozen=True, kw_only=True)
class UsersConfig(Config):
    """`users` users of one base; `rounds` of averaging share the steps of `tune.train`."""

    name: str = "each alone, LoRA"
    seed: int = 0
    tune: TuneConfig = TuneConfig()
    how: Literal["each alone", "one for all", "averaged"] = "each alone"
    users: int = 4
    rounds: int = 10

    limits: ClassVar = {"at least 1": "users rounds"}
    scales: ClassVar = {"smoke": {"tune": TuneConfig.at("smoke"), "users": 2, "rounds": 3}}

    def faults(self) -> Iterator[tuple[Any, str]]:
        steps = self.tune.train.steps
        yield steps % self.rounds, f"rounds is {self.rounds}; expected a divisor of tune.train.steps={steps}"

    def user(self, number: int) -> TuneConfig:
        """What one user asks for."""
        return self.tune.replace(seed=self.seed, user=number)


def served(cfg: UsersConfig) -> list[nn.Module]:
    """The model of each user; shared models are one object."""
    own = [cfg.user(number) for number in range(cfg.users)]
    begun = tuned(trained_base(own[0]), cfg.tune.tuning, own[0].stream("noise"))
    rows, draws = [tuning_rows(user) for user in own], [user.stream("calibration", user.user) for user in own]
    if cfg.how == "each alone":
        return [_trained(cfg, begun, *of) for of in zip(rows, draws, strict=True)]
    if cfg.how == "one for all":
        return [_trained(cfg, begun, joined(rows), draws[0])] * cfg.users
    for turn in range(cfg.rounds):
        begun = mean_of([_trained(cfg, begun, *of, cfg.rounds, turn) for of in zip(rows, draws, strict=True)])
    return [begun] * cfg.users


@torch.no_grad()
def mean_of(models: list[nn.Module]) -> nn.Module:
    """A model with the mean of what each has trained."""
    shared = copy.deepcopy(models[0])
    for name, weight in trainable(shared).items():
        weight.copy_(torch.stack([trainable(model)[name] for model in models]).mean(0))
    return shared


def _trained(cfg: UsersConfig, begun: nn.Module, kept: Batch, rows: Generator, rounds: int = 1, turn: int = 0):
    """A copy after one of the rounds, at the learning rates that its steps have in the whole training."""
    model, whole, own = copy.deepcopy(begun), cfg.tune.train.steps, cfg.tune.train
    steps = whole // rounds
    rate = lambda step: factor(own.schedule, turn * steps + step, whole)  # noqa: E731
    fit(model, rows_drawn(kept), own.replace(steps=steps, log_every=steps), rows, rate=rate)
    return model


def distances(cfg: UsersConfig, models: list[nn.Module]) -> list[dict[str, float]]:
    """By user: nats from the user's language, and from that of the base."""
    return [excess_of(cfg.user(number)).read(model.eval()) for number, model in enumerate(models)]
