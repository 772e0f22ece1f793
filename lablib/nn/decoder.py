"""A decoder of any mixers that can be read in pieces: the model of notebook 03 and its peers, as a plan of blocks.

The words of a plan, in order of depth; each is a mixer, then a gated MLP:
    swa       sliding-window attention with RoPE           full      full causal attention with RoPE
    mamba2    Mamba-2                                      delta     Gated DeltaNet
    kvb       TTT by key-value binding (kvb-simple: eq. 9) mlp       no mixer: each position on its own
    +prime    behind a mixer: a second MLP between it and the first, the place of fast weights (arXiv 2512.23675, 2.3)
    swa+kvb   sliding window and binding in one block, one after the other; the same for mamba2 and delta

A norm stands before and after each of them, as in the paper's code.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.nn.cached import CachedAttention, FullCache
from lablib.nn.layers import Linear, RMSNorm, SwiGLU
from lablib.nn.recurrent import GatedDeltaNet, KeyValueBinding, Mamba2

MIXERS = ("swa", "full", "mamba2", "delta", "kvb", "kvb-simple")
Hidden = Float[Tensor, "batch time width"]
States = list[Any]  # one a block, each a list of one a mixer; None at the beginning of a text


@dataclass(frozen=True, kw_only=True)
class DecoderConfig(Config):
    """A decoder. `hidden` is the width of the MLPs, `prime` that of the second ones; lengths in tokens.

    `chunk` is that of the recurrences and of binding, `state` the size of Mamba-2's, `bind_rate` the first inner rate.
    """

    plan: str = "swa swa swa swa+prime"
    vocab: int = 16
    width: int = 32
    hidden: int = 64
    prime: int = 64
    num_heads: int = 2
    window: int = 16
    chunk: int = 16
    state: int = 16
    bind_rate: float = 0.1
    bind_clip: float = 1.0
    theta: float = 10_000.0

    scales: ClassVar = {}

    def __post_init__(self):
        super().__post_init__()
        words = [part for word in self.plan.split() for part in word.split("+")]
        if unknown := [word for word in words if word not in (*MIXERS, "prime", "mlp")]:
            raise ValueError(
                f"plan {self.plan!r} has the unknown parts {unknown}; expected {', '.join(MIXERS)}, mlp, prime"
            )
        if not words:
            raise ValueError("plan is empty; expected at least one block, such as 'swa'")
        if (
            min(self.vocab, self.width, self.hidden, self.prime, self.num_heads, self.window, self.chunk, self.state)
            < 1
        ):
            raise ValueError(f"sizes, window and chunk must be at least 1; got {self}")
        if not (math.isfinite(self.bind_rate) and self.bind_rate >= 0 and self.bind_clip > 0 and self.theta > 1):
            raise ValueError(
                f"bind_rate={self.bind_rate}, bind_clip={self.bind_clip}, theta={self.theta}: expected a finite rate "
                ">= 0, a clip above 0 and theta above 1"
            )
        if self.width % self.num_heads or self.width // self.num_heads % 2:
            raise ValueError(
                f"width {self.width} must be a multiple of num_heads {self.num_heads} with an even quotient"
            )


class Sandwich(nn.Module):
    """x + norm(f(norm x)): the residual around one part of a block."""

    def __init__(self, part: nn.Module, width: int):
        super().__init__()
        self.before, self.part, self.after = RMSNorm(width), part, RMSNorm(width)

    def forward(self, x: Hidden) -> Hidden:
        return x + self.after(self.part(self.before(x)))

    def carry(self, x: Hidden, state: Any, **how: bool) -> tuple[Hidden, Any]:
        """The same for a mixer, which goes on from a state."""
        mixed, state = self.part(self.before(x), state, **how)
        return x + self.after(mixed), state


class DecoderBlock(nn.Module):
    """Mixers, then the fast MLP where the plan has one, then the MLP."""

    def __init__(self, cfg: DecoderConfig, word: str):
        super().__init__()
        parts = word.split("+")
        self.mixers = nn.ModuleList(Sandwich(_mixer(cfg, part), cfg.width) for part in parts if part in MIXERS)
        self.prime = Sandwich(SwiGLU(cfg.width, cfg.prime), cfg.width) if "prime" in parts else None
        self.mlp = Sandwich(SwiGLU(cfg.width, cfg.hidden), cfg.width)

    def forward(self, x: Hidden, states: list | None = None, *, twice: bool = False) -> tuple[Hidden, list]:
        """`twice`: only by operations that have a second derivative."""
        after = []
        for mixer, state in zip(self.mixers, states or [None] * len(self.mixers), strict=True):
            how = {"twice": twice} if isinstance(mixer.part, CachedAttention) else {}
            x, state = mixer.carry(x, state, **how)
            after.append(state)
        if self.prime is not None:
            x = self.prime(x)
        return self.mlp(x), after


def _mixer(cfg: DecoderConfig, word: str) -> nn.Module:
    if word in ("swa", "full"):
        return CachedAttention(cfg.width, cfg.num_heads, cfg.window if word == "swa" else None, cfg.theta)
    if word == "mamba2":
        return Mamba2(cfg.width, cfg.num_heads, cfg.state, cfg.chunk)
    if word == "delta":
        return GatedDeltaNet(cfg.width, cfg.num_heads, cfg.chunk)
    simple = word == "kvb-simple"
    return KeyValueBinding(cfg.width, cfg.num_heads, cfg.chunk, cfg.bind_rate, cfg.bind_clip, simple)


class Upper(nn.Module):
    """The blocks from some depth on, with the norm and the output map: hidden states -> logits."""

    def __init__(self, blocks: Sequence[nn.Module], norm: nn.Module, head: nn.Module):
        super().__init__()
        self.blocks, self.norm, self.head = nn.ModuleList(blocks), norm, head

    def forward(
        self, x: Hidden, states: States | None = None, *, twice: bool = False
    ) -> tuple[Float[Tensor, "batch time vocab"], States]:
        x, states = run_blocks(self.blocks, x, states, twice=twice)
        return self.head(self.norm(x)), states


def run_blocks(
    blocks: nn.ModuleList, x: Hidden, states: States | None, *, twice: bool = False
) -> tuple[Hidden, States]:
    after = []
    for block, state in zip(blocks, states or [None] * len(blocks), strict=True):
        x, state = block(x, state, twice=twice)
        after.append(state)
    return x, after


def state_bytes(states: Any) -> int:
    """Bytes of all that a text has left to go on from: caches, memories, inner models."""
    if isinstance(states, Tensor):
        return states.numel() * states.element_size()
    if isinstance(states, FullCache):
        return state_bytes((states.keys, states.values))
    parts = states.values() if isinstance(states, dict) else states
    return sum(state_bytes(part) for part in parts) if isinstance(states, dict | list | tuple) else 0


class Decoder(nn.Module):
    """Embedding, blocks, a norm and the output map."""

    def __init__(self, cfg: DecoderConfig, generator: Generator | None = None):
        super().__init__()
        self.cfg = cfg
        self.embedding = nn.Embedding(cfg.vocab, cfg.width)
        self.blocks = nn.ModuleList(DecoderBlock(cfg, word) for word in cfg.plan.split())
        self.norm, self.head = RMSNorm(cfg.width), Linear(cfg.width, cfg.vocab)
        self.initialise(generator or Generator().manual_seed(0))

    def initialise(self, generator: Generator) -> None:
        """All initial values in one place: gains 1, the embedding normal with std 1, maps normal with 1 / sqrt(fan_in).

        Output maps (out, down) have 1 / sqrt(2 blocks) of that. Mamba-2 and Gated DeltaNet: decay rates log-uniform in
        [1, 16], steps in [0.001, 0.1] (as published); gains and skips 1, inner rates as configured.
        """
        scale = 1 / math.sqrt(2 * len(self.blocks))
        for name, parameter in self.named_parameters():
            leaf = name.split(".")[-2]
            if name.endswith("log_rate") and parameter.ndim:
                nn.init.uniform_(parameter, 0, math.log(16), generator=generator)
            elif name.endswith("step_bias"):
                step = torch.empty_like(parameter).uniform_(math.log(1e-3), math.log(0.1), generator=generator).exp()
                parameter.data = step + torch.log(-torch.expm1(-step))  # softplus(bias) = step
            elif name.endswith("gain") or parameter.ndim < 2:
                continue
            elif leaf == "embedding":
                nn.init.normal_(parameter, generator=generator)
            else:
                std = (scale if leaf in ("out", "down") else 1.0) / math.sqrt(parameter.shape[-1])
                nn.init.normal_(parameter, std=std, generator=generator)

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        """Logits of the next token at every position."""
        return self.read(tokens)[0]

    def read(
        self, tokens: Int[Tensor, "batch time"], states: States | None = None
    ) -> tuple[Float[Tensor, "batch time vocab"], States]:
        """The logits, and the states to go on from: a text read in pieces is the text read whole."""
        x, states = run_blocks(self.blocks, self.embedding(tokens), states)
        return self.head(self.norm(x)), states

    def upper(self, first: int) -> Upper:
        """The blocks from `first` on with the output, made of this decoder's own modules."""
        return Upper(list(self.blocks)[first:], self.norm, self.head)
