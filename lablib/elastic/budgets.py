"""A budget says what of a parent model is kept; the kept part is an ordinary model with a configuration of its own.

The parents have layers of one part each (Nemotron Nano 2, which arXiv 2511.16664 makes elastic): Mamba-2, attention
without positions, or an MLP with squared ReLU. Vocabulary, state size and groups are not elastic.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from lablib.core.config import Config
from lablib.core.refusals import at_least
from lablib.nn.plan import Layer, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Budget(Config):
    """What is kept, along each axis; None: all of it. A tuple has a number for each layer of its kind.

    width        channels of the residual stream       hidden   neurons of each MLP
    mamba_heads  Mamba heads of each group             mamba_channels  channels of each Mamba head
    heads        attention heads                       layers   which layers, from 0, in order of depth
    """

    width: int | None = None
    hidden: int | tuple[int, ...] | None = None
    mamba_heads: int | tuple[int, ...] | None = None
    mamba_channels: int | None = None
    heads: int | tuple[int, ...] | None = None
    layers: tuple[int, ...] | None = None

    def faults(self) -> Iterator[tuple[bool, str]]:
        kept = self.layers
        yield kept == () or list(kept or ()) != sorted(set(kept or ())), f"layers is {kept}; expected places that rise"


TAPS = 4  # of the short convolution of Mamba-2
AXES = ("width", "hidden", "mamba_heads", "mamba_channels", "heads", "layers")


class Kept(NamedTuple):
    """What a layer of the parent keeps: neurons of an MLP, or heads (of each group, in Mamba-2) and their channels."""

    place: int
    kind: str  # mamba2, attention or relu2
    sizes: tuple[int, ...]


def kind_of(layer: Layer) -> str:
    """The one part of a layer. ValueError for a layer that cannot be made elastic."""
    part = layer.mixers[0] if layer.mixers else (layer.mlp or ("none", 0))[0]
    kind = "attention" if part in ("full", "full-nope") else part
    single = len(layer.mixers) + (layer.mlp is not None) == 1 and layer.prime is None and layer.times == 1
    if not single or kind not in ("mamba2", "attention", "relu2") or layer.heads == (None,):
        raise ValueError(
            f"a layer with {[*layer.mixers, *(layer.mlp or ())]} cannot be made elastic; expected layers of one part, "
            "relu2, or mamba2, full or full-nope with their heads and no-mlp, as in `mamba2:8x8+no-mlp relu2:192`"
        )
    return kind


def full_sizes(cfg: ModelConfig) -> list[Kept]:
    """What each layer of the parent has. ValueError where a layer cannot be made elastic."""
    if cfg.bias or cfg.norm != "pre":
        raise ValueError(f"bias={cfg.bias}, norm={cfg.norm!r}: expected an elastic parent without biases, norm 'pre'")
    found = []
    for place, layer in enumerate(cfg.layers.layers):
        kind = kind_of(layer)
        if kind == "relu2":
            sizes = (layer.mlp[1],)
        else:
            number, dim = layer.heads[0]
            sizes = (number // (cfg.groups if kind == "mamba2" else 1), dim)
        found.append(Kept(place, kind, sizes))
    return found


def kept_sizes(cfg: ModelConfig, budget: Budget) -> list[Kept]:
    """What each kept layer keeps. ValueError for a budget that the parent does not have, which names the field."""
    parent = full_sizes(cfg)
    _within("width", budget.width, cfg.width)
    if budget.layers and not 0 <= budget.layers[0] <= budget.layers[-1] < len(parent):
        raise ValueError(f"layers is {budget.layers}; expected places from 0 to {len(parent) - 1}")
    asked = {"relu2": ("hidden",), "mamba2": ("mamba_heads", "mamba_channels"), "attention": ("heads",)}
    of_kind = {kind: [layer for layer in parent if layer.kind == kind] for kind in asked}
    found = []
    for layer in parent:
        sizes = list(layer.sizes)
        for i, name in enumerate(asked[layer.kind]):
            value, siblings = getattr(budget, name), of_kind[layer.kind]
            if isinstance(value, tuple):
                if len(value) != len(siblings):
                    raise ValueError(f"{name} is {value}; expected one number, or {len(siblings)}, one a layer")
                value = value[siblings.index(layer)]
            _within(name, value, sizes[i])
            sizes[i] = sizes[i] if value is None else value
        if budget.layers is None or layer.place in budget.layers:
            found.append(Kept(layer.place, layer.kind, tuple(sizes)))
    return found


def _within(name: str, value: int | None, most: int) -> None:
    if value is not None and not 1 <= value <= most:
        each = " in each group" if name == "mamba_heads" else ""
        raise ValueError(f"{name} is {value}; expected 1 to {most}, what the parent has{each}")


def sliced_config(cfg: ModelConfig, budget: Budget) -> ModelConfig:
    """The configuration of what is kept, as a model of its own."""
    words = []
    for place, kind, sizes in kept_sizes(cfg, budget):
        if kind == "relu2":
            words.append(f"relu2:{sizes[0]}")
        else:
            mixer = cfg.layers.layers[place].mixers[0]
            words.append(f"{mixer}:{sizes[0] * (cfg.groups if kind == 'mamba2' else 1)}x{sizes[1]}+no-mlp")
    return cfg.replace(plan=" ".join(words), width=cfg.width if budget.width is None else budget.width)


class Cost(NamedTuple):
    """What a model takes. FLOPs a token are of the forward pass at the end of `length` tokens, read one by one."""

    parameters: int  # all but embedding and output map, as everywhere in this subject
    state_bytes: int
    flops: int


def layer_parameters(cfg: ModelConfig, kind: str, sizes: Sequence, width: Any) -> Any:
    """Parameters of a layer with its norm; sizes and width may be numbers, or tensors of expected sizes."""
    if kind == "relu2":
        return width * (2 * sizes[0] + 1)
    if kind == "attention":
        return width * (4 * sizes[0] * sizes[1] + 1) + 2 * sizes[1]
    heads, shared = sizes[0] * cfg.groups, cfg.groups * cfg.state
    inner = heads * sizes[1]
    return width * (3 * inner + 2 * shared + heads + 1) + TAPS * (inner + 2 * shared) + 3 * heads + inner


def cost(cfg: ModelConfig, length: int = 64) -> Cost:
    """The cost of an elastic model, by formulas: sums over its layers."""
    at_least(1, length=length)
    width, shared, layers = cfg.width, cfg.groups * cfg.state, full_sizes(cfg)
    parameters = width + sum(layer_parameters(cfg, kind, sizes, width) for _, kind, sizes in layers)
    state, flops = 0, 2 * width * cfg.vocab
    for _, kind, sizes in layers:
        if kind == "relu2":
            flops += 4 * width * sizes[0]
        elif kind == "attention":
            inner = sizes[0] * sizes[1]
            state += 8 * length * inner
            flops += 8 * width * inner + 4 * length * inner
        else:
            heads, inner = sizes[0] * cfg.groups, sizes[0] * cfg.groups * sizes[1]
            state += 4 * (inner * cfg.state + (TAPS - 1) * (inner + 2 * shared))
            flops += 2 * width * (3 * inner + 2 * shared + heads)  # maps; then convolution, state written and read
            flops += 2 * TAPS * (inner + 2 * shared) + 4 * inner * cfg.state
    return Cost(parameters, state, flops)
