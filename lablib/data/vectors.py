"""Vectors to embed: classes that lie in groups, and two views of one thing.

    Classes   a class has a mean: that of its group and an offset of its own; a vector is mean plus noise, bent
    Views     a query and its document are one hidden vector, each with noise of its own, bent in two ways

To bend is a fixed random map, tanh, and another map: what is near before need not be near behind it. Means and maps
are drawn from the task's own generator, rows from one that each draw is given.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from lablib.core.config import Config

Vectors = Float[Tensor, "row input"]
INPUTS = 96


@dataclass(frozen=True, kw_only=True)
class ClassesConfig(Config):
    """`groups` times `members` classes in `hidden` dimensions; `offset` and `noise` are in units of the group means."""

    groups: int = 16
    members: int = 16
    hidden: int = 32
    offset: float = 0.6
    noise: float = 0.65

    limits: ClassVar = {"at least 1": "groups members hidden", "at least 0": "offset noise"}


class Classes:
    """Draws vectors with their classes; class c is in group c // members."""

    def __init__(self, cfg: ClassesConfig, generator: Generator):
        self.cfg = cfg
        groups = torch.randn(cfg.groups, 1, cfg.hidden, generator=generator)
        offsets = torch.randn(cfg.groups, cfg.members, cfg.hidden, generator=generator)
        self.means = (groups + cfg.offset * offsets).flatten(0, 1)
        self.bent = Bent(cfg.hidden, generator)

    def __call__(self, number: int, generator: Generator) -> tuple[Vectors, Int[Tensor, " row"]]:
        """So many vectors of classes drawn at random, and the classes."""
        classes = torch.randint(len(self.means), (number,), generator=generator)
        noise = torch.randn(number, self.cfg.hidden, generator=generator)
        return self.bent(self.means[classes] + self.cfg.noise * noise), classes


@dataclass(frozen=True, kw_only=True)
class ViewsConfig(Config):
    """Two views of `hidden` independent factors; `noise` of a view is in units of a factor."""

    hidden: int = 32
    noise: float = 0.46

    limits: ClassVar = {"at least 1": "hidden", "at least 0": "noise"}


class Views:
    """Draws queries and documents: query i belongs to document i."""

    def __init__(self, cfg: ViewsConfig, generator: Generator):
        self.cfg = cfg
        self.query, self.document = (Bent(cfg.hidden, generator) for _ in range(2))

    def __call__(self, number: int, generator: Generator) -> tuple[Vectors, Vectors]:
        """So many pairs."""
        factors = torch.randn(number, self.cfg.hidden, generator=generator)
        first, second = self.cfg.noise * torch.randn(2, number, self.cfg.hidden, generator=generator)
        return self.query(factors + first), self.document(factors + second)


class Bent:
    """x -> tanh(x A) B with random A and B."""

    def __init__(self, hidden: int, generator: Generator):
        self.into = torch.randn(hidden, 2 * INPUTS, generator=generator) / hidden**0.5
        self.out = torch.randn(2 * INPUTS, INPUTS, generator=generator) / INPUTS**0.5

    def __call__(self, x: Float[Tensor, "row hidden"]) -> Vectors:
        return (x @ self.into).tanh() @ self.out
