"""A model as a value, and the grammar of its plan: one word a layer, in order of depth.

The plan `swa memory swa+hsa` is the smallest HSA-UltraLong (arXiv 2511.23319, section 3.1).

A word is parts joined by `+`: mixers, then at most one `prime`, then at most one MLP.

    swa       sliding-window attention with RoPE          full        full causal attention with RoPE
    full-nope the same without positions (NoPE)           hsa         hierarchical sparse attention on the memory
    mamba2    Mamba-2                                     delta       Gated DeltaNet
    kvb       TTT by key-value binding                    kvb-simple  its simplified form (arXiv 2512.23675, eq. 9)
    prime     a second MLP before the first: the place of fast weights (arXiv 2512.23675, section 2.3)
    mlp       gated MLP, also where a word names none     relu2       MLP without a gate, squared ReLU
    no-mlp    the layer is its mixers alone

`mlp` as a whole word is an MLP alone. `mlp:96`, `relu2:96` and `prime:96` give a width, `full:3x16` gives three heads
of 16 channels (of swa, full, full-nope, mamba2). `3*swa` is three layers that share their weights. The word `memory`
(once, below the first hsa) is no layer: the hidden states there are encoded in chunks, and all hsa layers above read
them.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple

from lablib.core.config import Config, later
from lablib.core.refusals import at_least
from lablib.ops.hsa import Fusion

ATTENTION = ("swa", "full", "full-nope")
RECURRENCES = ("mamba2", "delta", "kvb", "kvb-simple")
MIXERS = (*ATTENTION, "hsa", *RECURRENCES)
SIZED = (*ATTENTION, "mamba2")  # mixers whose heads a word may give
MLPS = ("mlp", "relu2")
PARTS = (*MIXERS, "prime", *MLPS, "no-mlp")


class HeadShape(NamedTuple):
    """How many heads a mixer has, and channels of each."""

    number: int
    dim: int


class Layer(NamedTuple):
    """One word. `prime` is the width of the second MLP or None, `mlp` the kind and width of the first or None."""

    mixers: tuple[str, ...]
    prime: int | None
    mlp: tuple[str, int] | None
    times: int = 1  # layers in a row with these weights
    heads: tuple[HeadShape | None, ...] = ()  # one a mixer; None: as the model has them


class Plan(NamedTuple):
    """The layers, and how many of the words stand below the memory (None: there is no memory)."""

    layers: tuple[Layer, ...]
    memory_above: int | None

    @property
    def depth(self) -> int:
        """Layers that a token passes; layers that share weights count each."""
        return sum(layer.times for layer in self.layers)

    def count(self, *mixers: str) -> int:
        """How many layers have one of these mixers."""
        return sum(layer.times * len(set(mixers) & set(layer.mixers)) for layer in self.layers)


def parse(plan: str, hidden: int, prime: int) -> Plan:
    """The plan in words as layers; `hidden` and `prime` are the widths where a word gives none. ValueError if bad."""
    words = plan.split()
    layers = tuple(_layer(plan, word, hidden, prime) for word in words if word != "memory")
    if not layers:
        raise ValueError(f"plan {plan!r} has no layer; expected words such as swa, of {', '.join(PARTS)}")
    above = words.index("memory") if "memory" in words else None
    reads = ["hsa" in layer.mixers for layer in layers]
    if words.count("memory") != int(any(reads)) or any(reads[:above]):
        raise ValueError(f"plan {plan!r} needs one `memory` below its first hsa layer, and none without hsa")
    return Plan(layers, above)


def _layer(plan: str, word: str, hidden: int, prime: int) -> Layer:
    times, star, rest = word.rpartition("*")
    parts = [part.partition(":") for part in rest.split("+")]
    names = [name for name, _, _ in parts]
    if unknown := [name for name in names if name not in PARTS]:
        raise ValueError(f"plan {plan!r} has the unknown parts {unknown}; expected {', '.join(PARTS)}, memory")
    mixers = tuple(name for name in names if name in MIXERS)
    kinds = [name for name in names if name not in (*MIXERS, "prime")]
    order = [*mixers, *(["prime"] if "prime" in names else []), *kinds]
    sizes = {name: _numbers(size) for name, colon, size in parts if colon}
    numbers = {1: ("prime", *MLPS), 2: SIZED}  # how many make a size
    fit = all(name in numbers.get(len(size), ()) for name, size in sizes.items())
    if names != order or len(kinds) > 1 or names == ["no-mlp"] or not fit or (star and len(_numbers(times)) != 1):
        raise ValueError(
            f"plan {plan!r}: {word!r} is no layer; expected mixers, then prime, then one of {', '.join(MLPS)}, no-mlp, "
            f"widths as in mlp:96, heads and channels as in full:3x16 ({', '.join(SIZED)}), and repeats as in 3*swa"
        )
    kind = kinds[0] if kinds else "mlp"
    mlp = None if kind == "no-mlp" else (kind, *sizes.get(kind, (hidden,)))
    second = sizes.get("prime", (prime,))[0] if "prime" in names else None
    heads = tuple(HeadShape(*sizes[name]) if name in sizes else None for name in mixers)
    return Layer(mixers, second, mlp, int(times or 1), heads)


def _numbers(text: str) -> tuple[int, ...]:
    """The whole numbers above 0 of `3x16`; nothing where one is none."""
    parts = text.split("x")
    return tuple(map(int, parts)) if all(part.isdecimal() and int(part) for part in parts) else ()


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Config):
    """A model. Lengths in tokens, `top_k` in chunks.

    norm      "pre": before each part of a layer; "sandwich": before and after
    hidden    width of the MLPs (None: twice the width), `prime` of the second MLPs
    chunk     tokens of a chunk: of HSA, of the recurrences, of binding
    bypass    an HSA read reaches the MLP only, not the residual stream (arXiv 2510.17196)
    hsa_rope  rotate the HSA read by absolute positions: a contrast
    state     size of Mamba-2's state, in `groups` of heads         bind_rate  first inner rate of binding
    """

    plan: str = "swa memory swa+hsa"
    vocab: int = 64
    width: int = 32
    num_heads: int = 2
    num_kv_heads: int = 1  # of HSA; each retrieves its own top-k
    window: int = 8
    chunk: int = 8
    top_k: int = 4
    fusion: Fusion = "softmax"
    landmark: Literal["encoded", "mean"] = "encoded"
    bypass: bool = True
    hsa_rope: bool = False
    retrieval_init: Literal["identity", "identity-read", "ordinary"] = "identity"
    theta: float = 10_000.0
    norm: Literal["pre", "sandwich"] = later("pre")
    hidden: int | None = later(None)
    prime: int = later(64)
    state: int = later(16)
    groups: int = later(1)
    bind_rate: float = later(0.1)
    bind_clip: float = later(1.0)
    bias: bool = later(False)  # in the maps of attention and MLPs

    limits: ClassVar = {
        "at least 1": "width num_heads num_kv_heads window chunk top_k vocab hidden prime state groups",
        **{"at least 0": "bind_rate", "more than 0": "bind_clip", "more than 1": "theta"},
    }
    endless: ClassVar = ("bind_clip",)

    def faults(self) -> Iterator[tuple[Any, str]]:
        _ = self.layers  # a bad plan is refused now
        width, heads, kv_heads, groups = self.width, self.num_heads, self.num_kv_heads, self.groups
        told = [
            (name, size) for layer in self.layers.layers for name, size in zip(layer.mixers, layer.heads, strict=True)
        ]
        if any(size is None for _, size in told):
            yield (
                width % heads or heads % kv_heads or heads % groups or width // heads % 2,
                f"width {width} must be a multiple of num_heads {heads} with an even quotient, and num_heads a "
                f"multiple of num_kv_heads {kv_heads} and of groups {groups}",
            )
        for name, size in told:
            if size is not None and name == "mamba2":
                yield size.number % groups, f"mamba2 has {size.number} heads; expected a multiple of groups {groups}"
            elif size is not None and name != "full-nope":
                yield size.dim % 2, f"{name} has heads of {size.dim} channels; expected an even number, to be rotated"
        unread = self.retrieval_init == "identity-read" and kv_heads != heads
        yield unread, f"an identity read needs as many key-value heads as heads; got {kv_heads} and {heads}"

    @cached_property
    def layers(self) -> Plan:
        """The plan, parsed."""
        return parse(self.plan, self.mlp_width, self.prime)

    @property
    def mlp_width(self) -> int:
        return 2 * self.width if self.hidden is None else self.hidden

    def state_bytes(self, length: int) -> int:
        """Bytes (float32) of key-value caches (a whole window each) and chunk store behind `length` tokens.

        For plans of attention and HSA, at lengths that nobody wants to read for it; `state_bytes` of `nn/model.py`
        counts any state. Raises ValueError for a plan with a recurrence.
        """
        at_least(0, length=length)
        if self.layers.count(*RECURRENCES):
            raise ValueError(f"plan {self.plan!r} has a recurrence; expected attention and HSA alone")
        caches = 0
        for layer in self.layers.layers:
            for name, size in zip(layer.mixers, layer.heads, strict=True):
                tokens = {"swa": min(self.window, length), "hsa": 0}.get(name, length)
                caches += layer.times * tokens * (self.width if size is None else size.number * size.dim)
        return 4 * 2 * caches + self.store_bytes(length)

    def store_bytes(self, length: int) -> int:
        """Bytes (float32) of the chunk store of `length` tokens: landmarks, keys and values; 0 without a memory."""
        kv_width = self.num_kv_heads * (self.width // self.num_heads)
        chunks = 0 if self.layers.memory_above is None else length // self.chunk
        return 4 * chunks * (self.width + 2 * self.chunk * kv_width)
