"""One model that is many: the kept part of a parent as a slice of its weights, or the whole parent under masks.

One table says which axis of the network each axis of each parameter follows (`axes_of`). Slices, masks and permutations
are all made of it, so that none can forget a parameter. A mask on activations is written as a mask on the rows and
columns of the weights around them; only the norms must know of it: they divide by the channels that are kept.
"""

import copy
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.func import functional_call

from lablib.elastic.budgets import Budget, full_sizes, kept_sizes, sliced_config
from lablib.nn.layers import RMSNorm
from lablib.nn.model import LanguageModel, Logits, Tokens
from lablib.nn.plan import ModelConfig

Index = Int[Tensor, " kept"]


class Axis(NamedTuple):
    """An axis of the network that parameters follow: the residual stream, or a layer's own neurons or heads."""

    name: str  # width, hidden, heads, channels (heads x channels), into (of Mamba-2), convolution, whole
    layer: int = -1


WIDTH, WHOLE = Axis("width"), Axis("whole")

# the axes of each parameter of a layer, by the end of its name, behind the layer's number
PARTS = {
    "relu2": {"mlp.part.up.weight": ("hidden", "width"), "mlp.part.down.weight": ("width", "hidden")},
    "attention": {
        **{f"mixers.0.part.{name}.weight": ("channels", "width") for name in ("query", "key", "value")},
        "mixers.0.part.out.weight": ("width", "channels"),
        "mixers.0.part.query_norm.gain": ("whole",),
        "mixers.0.part.key_norm.gain": ("whole",),
    },
    "mamba2": {
        "mixers.0.part.into.weight": ("into", "width"),
        "mixers.0.part.convolution.kernel": ("convolution", "whole"),
        **{f"mixers.0.part.{name}": ("heads",) for name in ("log_rate", "step_bias", "skip")},
        "mixers.0.part.norm.gain": ("channels",),
        "mixers.0.part.out.weight": ("width", "channels"),
    },
}


def axes_of(cfg: ModelConfig) -> dict[str, tuple[Axis, ...]]:
    """By parameter, the axes of the network that its own axes follow."""
    found = {"embedding.weight": (WHOLE, WIDTH), "norm.gain": (WIDTH,), "head.weight": (WHOLE, WIDTH)}
    for place, kind, _ in full_sizes(cfg):
        found[f"blocks.{place}.{'mlp' if kind == 'relu2' else 'mixers.0'}.before.gain"] = (WIDTH,)
        for end, names in PARTS[kind].items():
            axes = tuple({"width": WIDTH, "whole": WHOLE}.get(name, Axis(name, place)) for name in names)
            found[f"blocks.{place}.{end}"] = axes
    return found


def check_parameters(model: LanguageModel) -> None:
    """ValueError for a model with a parameter that the table of axes does not know, or without one that it does."""
    if apart := sorted({name for name, _ in model.named_parameters()} ^ axes_of(model.cfg).keys()):
        raise ValueError(f"the parameter {apart[0]} cannot be sliced; expected a LanguageModel of elastic layers alone")


def layer_indices(
    cfg: ModelConfig, place: int, number: Int[Tensor, " head"], channels: Int[Tensor, " channel"]
) -> dict[Axis, Index]:
    """The axes of a Mamba-2 layer, where the heads of these numbers, and these channels of each, are taken."""
    _, _, (each, dim) = full_sizes(cfg)[place]
    inner, shared = (number[:, None] * dim + channels).flatten(), 2 * cfg.groups * cfg.state
    whole = cfg.groups * each * dim
    others = whole + torch.arange(shared)  # B and C stay whole
    into = torch.cat([inner, whole + inner, whole + others, 2 * whole + shared + number])
    return {
        Axis("heads", place): number,
        Axis("channels", place): inner,
        Axis("convolution", place): torch.cat([inner, others]),
        Axis("into", place): into,
    }


def indices(cfg: ModelConfig, budget: Budget) -> dict[Axis, Index]:
    """What is kept of each axis: the first of each, as rank order is index order after `permuted`."""
    found = {WIDTH: torch.arange(cfg.width if budget.width is None else budget.width)}
    for place, kind, sizes in kept_sizes(cfg, budget):
        if kind == "relu2":
            found[Axis("hidden", place)] = torch.arange(sizes[0])
        elif kind == "attention":
            found[Axis("channels", place)] = torch.arange(sizes[0] * sizes[1])
        else:
            each = full_sizes(cfg)[place].sizes[0]
            number = (each * torch.arange(cfg.groups)[:, None] + torch.arange(sizes[0])).flatten()  # of each group
            found |= layer_indices(cfg, place, number, torch.arange(sizes[1]))
    return found


def taken(weight: Tensor, axes: tuple[Axis, ...], index: Mapping[Axis, Index]) -> Tensor:
    """What is kept of a parameter: a view where each index is a range from 0, else a copy."""
    for dim, axis in enumerate(axes):
        if axis == WHOLE:
            continue
        kept = index[axis]
        if torch.equal(kept, torch.arange(len(kept))):
            weight = weight.narrow(dim, 0, len(kept))
        else:
            weight = weight.index_select(dim, kept)
    return weight


def sliced_weights(
    weights: Mapping[str, Tensor], cfg: ModelConfig, budget: Budget, index: Mapping[Axis, Index] | None = None
) -> dict[str, Tensor]:
    """The weights of the kept part, by their names in a model of it; gradients reach the weights of the parent."""
    index = indices(cfg, budget) if index is None else index
    places = {kept.place: i for i, kept in enumerate(kept_sizes(cfg, budget))}
    found = {}
    for name, axes in axes_of(cfg).items():
        if name.startswith("blocks."):
            _, place, rest = name.split(".", 2)
            if int(place) not in places:
                continue
            found[f"blocks.{places[int(place)]}.{rest}"] = taken(weights[name], axes, index)
        else:
            found[name] = taken(weights[name], axes, index)
    return found


def sliced(model: LanguageModel, budget: Budget) -> LanguageModel:
    """The kept part as a model of its own, with copies of the weights."""
    check_parameters(model)
    small = LanguageModel(sliced_config(model.cfg, budget))
    small.load_state_dict(sliced_weights(dict(model.named_parameters()), model.cfg, budget))
    return small.to(model.embedding.weight).train(model.training)


class Slices(nn.Module):
    """A parent of which any budget can be run, on slices of the one set of weights, without a copy of the model."""

    def __init__(self, parent: LanguageModel):
        super().__init__()
        check_parameters(parent)
        self.parent = parent
        self._made: dict[Budget, tuple[LanguageModel, dict[Axis, Index]]] = {}

    def forward(self, tokens: Tokens, budget: Budget | None = None) -> Logits:
        """Logits of the kept part; of the whole parent without a budget."""
        if budget is None:
            return self.parent(tokens)
        shape = self.shape_of(budget)
        weights = sliced_weights(dict(self.parent.named_parameters()), self.parent.cfg, budget, self._made[budget][1])
        return functional_call(shape, weights, (tokens,))

    def shape_of(self, budget: Budget) -> LanguageModel:
        """The model that a budget is run as: without weights of its own, made once."""
        if budget not in self._made:
            with torch.device("meta"):
                shape = LanguageModel(sliced_config(self.parent.cfg, budget))
            self._made[budget] = shape, indices(self.parent.cfg, budget)
        return self._made[budget][0]


# ---- masks

Masks = dict[Axis, Float[Tensor, " size"]]  # 1 where kept, 0 where not; between them, partly (a soft mask)


def masks(cfg: ModelConfig, budget: Budget) -> Masks:
    """The masks of a budget: of each axis, and under `Axis("layer", place)` of each whole layer."""
    index, whole = indices(cfg, budget), indices(cfg, Budget())
    found = {axis: torch.zeros(len(every)) for axis, every in whole.items()}
    for axis, kept in index.items():
        found[axis][kept] = 1.0
    places = {kept.place for kept in kept_sizes(cfg, budget)}
    for place, _, _ in full_sizes(cfg):
        if place not in places:  # a layer that is left out is all there, times 0
            found |= {axis: torch.ones(len(every)) for axis, every in whole.items() if axis.layer == place}
        found[Axis("layer", place)] = torch.full((1,), float(place in places))
    return found


class MaskedNorm(RMSNorm):
    """An RMSNorm whose mean square counts the kept channels alone; `kept` is their share in each group."""

    kept: Tensor | float = 1.0

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        parts = x.unflatten(-1, (self.groups, -1))
        kept = self.kept[:, None] if isinstance(self.kept, Tensor) and self.kept.ndim else self.kept
        mean = parts.square().mean(-1, keepdim=True) / kept
        return (parts * torch.rsqrt(mean + 1e-6)).flatten(-2) * self.gain


class Masked(nn.Module):
    """The whole parent under masks, hard or soft: as slow as the parent, whatever is kept."""

    def __init__(self, parent: LanguageModel):
        super().__init__()
        check_parameters(parent)
        self.parent = parent
        shape = copy.deepcopy(parent)
        for module in shape.modules():
            if type(module) is RMSNorm:
                module.__class__ = MaskedNorm
        self._shape = [shape]  # in a list: its weights are the parent's, and are not registered twice

    def forward(self, tokens: Tokens, masks: Masks) -> Logits:
        cfg, shape, weights = self.parent.cfg, self._shape[0], dict(self.parent.named_parameters())
        for name, axes in axes_of(cfg).items():
            weights[name] = weights[name] * self._factor(name, axes, masks)
        width = masks[WIDTH].mean()
        for name, module in shape.named_modules():
            if isinstance(module, MaskedNorm) and not name.endswith(("query_norm", "key_norm")):
                place = name.split(".")[1] if name.startswith("blocks.") else ""
                inner = masks.get(Axis("channels", int(place))) if name.endswith("part.norm") else None
                module.kept = width if inner is None else inner.unflatten(0, (cfg.groups, -1)).mean(-1)
        return functional_call(shape, weights, (tokens,))

    def _factor(self, name: str, axes: tuple[Axis, ...], masks: Masks) -> Tensor | float:
        """What a parameter is multiplied by: each masked axis once, and where a layer writes, the layer."""
        factor: Tensor | float = 1.0
        for dim, axis in enumerate(axes):
            # a mask belongs where something is written, and at the gains through which it is read
            if (
                axis in masks
                and not (axis == WIDTH and dim == 1 and name.startswith("blocks."))
                and axis.name != "heads"
            ):
                factor = factor * masks[axis].reshape([-1 if i == dim else 1 for i in range(len(axes))])
        if name.endswith(("out.weight", "down.weight")):
            factor = factor * masks[Axis("layer", int(name.split(".")[1]))]
        return factor


def shared_bytes(weights: Mapping[str, Tensor], cfg: ModelConfig, budget: Budget) -> tuple[int, int]:
    """Bytes of a slice that lie in the parent's own memory, and bytes of all of it."""
    own = {weight.untyped_storage().data_ptr() for weight in weights.values()}
    parts = sliced_weights(weights, cfg, budget).values()
    size = lambda part: part.numel() * part.element_size()  # noqa: E731
    views = [part for part in parts if part.untyped_storage().data_ptr() in own]
    return sum(map(size, views)), sum(map(size, parts))
