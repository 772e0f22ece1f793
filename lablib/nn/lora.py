"""Low-rank adapters on linear maps that stay as they are (LoRA, arXiv 2106.09685).

    y = W x + s B A x          s = alpha / r; "root": alpha / sqrt(r) (rsLoRA, arXiv 2312.03732)
    y = m * (V x) / |V|        V = W + s B A, |V| by row and constant for the gradient (DoRA, arXiv 2402.09353)

A is (r, in) and drawn, B is (out, r) and 0, m = |W|: an adapter begins as the identity. A map may hold several adapters
by name; one of them is active, or none.
"""

import copy
import math
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.nn.layers import Linear
from lablib.nn.surgery import replace, select

LARGEST_SCALE = 4.0


@dataclass(frozen=True, kw_only=True)
class LoRAConfig(Config):
    """An adapter of `rank`; `scaling`: alpha by the rank, or by its root; `magnitude`: DoRA."""

    rank: int = 4
    alpha: float = 8.0
    scaling: Literal["rank", "root"] = "rank"
    magnitude: bool = False

    limits: ClassVar = {"at least 1": "rank", "more than 0": "alpha"}

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / (self.rank if self.scaling == "rank" else math.sqrt(self.rank))


class Adapter(nn.Module):
    """The low-rank change of one map, `down` is A and `up` is B; and the magnitude of DoRA."""

    def __init__(self, base: nn.Linear, cfg: LoRAConfig, generator: Generator):
        super().__init__()
        num_out, num_in = base.weight.shape
        if cfg.rank > min(num_out, num_in):
            raise ValueError(f"rank is {cfg.rank} for a map from {num_in} to {num_out}; expected at most the smaller")
        self.cfg, bound = cfg, 1 / math.sqrt(num_in)
        self.down = nn.Parameter(base.weight.new_empty(cfg.rank, num_in).uniform_(-bound, bound, generator=generator))
        self.up = nn.Parameter(base.weight.new_zeros(num_out, cfg.rank))
        self.magnitude = nn.Parameter(base.weight.detach().norm(dim=1)) if cfg.magnitude else None

    def change(self) -> Float[Tensor, "out in"]:
        """s B A."""
        return self.cfg.scale * self.up @ self.down

    def weight(self, base: Float[Tensor, "out in"]) -> Float[Tensor, "out in"]:
        """The whole map that base and adapter make."""
        whole = base + self.change()
        return whole if self.magnitude is None else self._turned(whole)[:, None] * whole

    def _turned(self, whole: Float[Tensor, "out in"]) -> Float[Tensor, " out"]:
        return self.magnitude / whole.detach().norm(dim=1)

    def forward(self, x: Float[Tensor, "*batch in"], base: nn.Linear) -> Float[Tensor, "*batch out"]:
        """What is added to the output of the base."""
        low = F.linear(F.linear(x, self.down), self.up) * self.cfg.scale
        if self.magnitude is None:
            return low
        turned = self._turned(base.weight + self.change())
        return (turned - 1) * F.linear(x, base.weight) + turned * low


class LoRALinear(Linear):
    """A linear map with adapters. Weight and bias are those of `base`, under the same names."""

    def __init__(self, base: nn.Linear):
        super().__init__(base.in_features, base.out_features, bias=base.bias is not None)
        self.weight, self.bias = base.weight, base.bias
        self.adapters, self.active = nn.ModuleDict(), None
        self.kept: Tensor | None = None  # the weight before it was merged

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        y = super().forward(x)
        return y if self.active is None or self.kept is not None else y + self.adapters[self.active](x, self)

    def merge(self) -> None:
        """Put the active adapter into the weight, in place."""
        if self.active is not None and self.kept is None:
            self.kept = self.weight.detach().clone()
            self.weight.data.copy_(self.adapters[self.active].weight(self.kept))

    def unmerge(self) -> None:
        """Take it out again: the weight is bit for bit what it was."""
        if self.kept is not None:
            self.weight.data.copy_(self.kept)
            self.kept = None

    def plain(self) -> Linear:
        """An ordinary map that computes the same."""
        made = Linear(self.in_features, self.out_features, bias=self.bias is not None)
        adapter = None if self.active is None or self.kept is not None else self.adapters[self.active]
        weight = self.weight if adapter is None else adapter.weight(self.weight)
        made.weight, made.bias = nn.Parameter(weight.detach().clone()), copy.deepcopy(self.bias)
        return made


def with_lora(
    model: nn.Module, cfg: LoRAConfig, pattern: str, *, count: int, generator: Generator, name: str = "adapter"
) -> nn.Module:
    """A copy of the model with a new, active adapter on each selected linear map; only the adapter is trainable.

    `pattern` and `count` as in `select`, of linear maps. Warns where the scale is above 4: the change is larger than
    the rate says. ValueError for a name that is taken and for a rank above the sizes of a map.
    """
    if cfg.scale > LARGEST_SCALE:
        said = f"alpha={cfg.alpha:g} at rank {cfg.rank} multiplies the change by {cfg.scale:g}"
        warnings.warn(f"{said}; expected at most {LARGEST_SCALE:g}, or a lower learning rate", stacklevel=2)
    model, which = copy.deepcopy(model), {"count": count, "kind": nn.Linear}
    if taken := [where for where, part in lora_maps(model) if name in part.adapters]:
        raise ValueError(f"{taken[0]} has an adapter {name!r} already; choose another name")
    replace(model, pattern, lambda part: part if isinstance(part, LoRALinear) else LoRALinear(part), **which)
    model.requires_grad_(False)
    for part in select(model, pattern, **which).values():
        part.adapters[name] = Adapter(part, cfg, generator)
    activate(model, name)
    return model


def lora_maps(model: nn.Module) -> Iterator[tuple[str, LoRALinear]]:
    """The maps with adapters, by name."""
    return ((name, part) for name, part in model.named_modules() if isinstance(part, LoRALinear))


def activate(model: nn.Module, name: str | None) -> None:
    """Switch to the adapter of a name, or with None to the base alone. ValueError for a name that no map has."""
    known = sorted({each for _, part in lora_maps(model) for each in part.adapters})
    if name is not None and name not in known:
        raise ValueError(f"no map has an adapter {name!r}; there are {', '.join(known) or 'none'}")
    for _, part in lora_maps(model):
        part.unmerge()
        part.active = name if name in part.adapters else None


def merge(model: nn.Module) -> None:
    """Put the active adapter into the weights, in place: then it costs nothing."""
    for _, part in lora_maps(model):
        part.merge()


def unmerge(model: nn.Module) -> None:
    """Take it out again, bit for bit."""
    for _, part in lora_maps(model):
        part.unmerge()


def plain(model: nn.Module) -> nn.Module:
    """A copy with ordinary maps in place of those with adapters: what the active adapter makes of the model."""
    model = copy.deepcopy(model)
    for name, part in list(lora_maps(model)):
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, part.plain())
    return model.requires_grad_(True)
