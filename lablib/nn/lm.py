"""A language model as a plan of layers: `swa memory swa+hsa` is the smallest HSA-UltraLong (arXiv 2511.23319, 3.1).

The words of a plan, in order of depth:
    swa        sliding-window attention with RoPE, then an MLP
    full       full causal attention with RoPE, then an MLP;   full-nope: the same without positions
    memory     (once) the hidden states here are encoded in chunks; everything above reads this one memory
    hsa        hierarchical sparse attention (NoPE), then an MLP;   swa+hsa: sliding window first
"""

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lablib.core.config import Config
from lablib.nn.layers import Linear, RMSNorm, SwiGLU
from lablib.nn.mixers import ChunkEncoder, Memory, PatchedMemory, Retriever, SelfAttention, SparseAttention
from lablib.ops.hsa import Fusion

LAYERS = ("swa", "full", "full-nope", "hsa", "swa+hsa")
Hidden = Float[Tensor, "batch time width"]


@dataclass(frozen=True, kw_only=True)
class LMConfig(Config):
    """A model. Lengths in tokens; `top_k` in chunks."""

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
    bypass: bool = True  # feed the HSA output to the MLP only, not to the residual stream (2510.17196)
    hsa_rope: bool = False  # rotate the HSA read by absolute positions: a contrast
    retrieval_init: Literal["identity", "identity-read", "ordinary"] = "identity"
    theta: float = 10_000.0

    scales: ClassVar = {}

    def __post_init__(self):
        super().__post_init__()
        words = self.plan.split()
        unknown = [word for word in words if word not in (*LAYERS, "memory")]
        needs = any("hsa" in word for word in words)
        below = words[: words.index("memory")] if "memory" in words else words
        if unknown or not words:
            raise ValueError(
                f"plan {self.plan!r} has the unknown layers {unknown}; expected {', '.join(LAYERS)}, memory"
            )
        if words.count("memory") != int(needs) or any("hsa" in word for word in below):
            raise ValueError(f"plan {self.plan!r} needs one `memory` below its first hsa layer, and none without hsa")
        if min(self.width, self.num_heads, self.num_kv_heads) < 1:
            raise ValueError("width, num_heads and num_kv_heads must be at least 1")
        if self.width % self.num_heads or self.num_heads % self.num_kv_heads or self.width // self.num_heads % 2:
            raise ValueError(
                f"width {self.width} must be a multiple of num_heads {self.num_heads} with an even quotient, "
                f"and num_heads a multiple of num_kv_heads {self.num_kv_heads}"
            )
        if min(self.window, self.chunk, self.top_k, self.vocab) < 1:
            raise ValueError("window, chunk, top_k and vocab must be at least 1")

        if self.retrieval_init == "identity-read" and self.num_kv_heads != self.num_heads:
            raise ValueError(
                f"an identity read needs as many key-value heads as heads; got {self.num_kv_heads} and {self.num_heads}"
            )

    @property
    def reach(self) -> int:
        """How many positions back the stacked sliding windows can carry information."""
        return sum("swa" in word for word in self.plan.split()) * (self.window - 1)

    def state_bytes(self, length: int) -> int:
        """Bytes (float32) that must be kept to go on after `length` tokens: key-value caches and the chunk store."""
        words, kv_width = self.plan.split(), self.num_kv_heads * (self.width // self.num_heads)
        windows = sum("swa" in word for word in words) * min(self.window, length)
        full = sum(word.startswith("full") for word in words) * length
        per_chunk = self.width + 2 * self.chunk * kv_width  # landmarks, then keys and values
        return 4 * ((windows + full) * 2 * self.width + ("memory" in words) * (length // self.chunk) * per_chunk)


class Block(nn.Module):
    """One layer of the plan: attention into the residual stream, HSA around or into it, then the MLP."""

    def __init__(self, cfg: LMConfig, word: str):
        super().__init__()
        self.bypass = cfg.bypass
        self.mixer = self.hsa = None
        if word != "hsa":
            self.mixer_norm = RMSNorm(cfg.width)
            window = cfg.window if "swa" in word else None
            theta = None if word == "full-nope" else cfg.theta
            self.mixer = SelfAttention(cfg.width, cfg.num_heads, window, theta)
        if "hsa" in word:
            theta = cfg.theta if cfg.hsa_rope else None
            self.hsa_norm = RMSNorm(cfg.width)
            self.hsa = SparseAttention(
                cfg.width, cfg.num_heads, cfg.num_kv_heads, cfg.chunk, cfg.top_k, cfg.fusion, theta
            )
        self.mlp_norm, self.mlp = RMSNorm(cfg.width), SwiGLU(cfg.width, 2 * cfg.width)

    def forward(
        self,
        x: Hidden,
        memory: Memory | PatchedMemory | None = None,
        positions: Int[Tensor, " time"] | None = None,
        *,
        keep: int | None = None,
        gathered: bool = False,
    ) -> Float[Tensor, "batch kept width"]:
        """`keep`: return the last positions only; the sliding window still sees all of `x`, HSA only works for them."""
        if self.mixer is not None:
            x = x + self.mixer(self.mixer_norm(x))
        if keep is not None:
            x, positions = x[:, -keep:], None if positions is None else positions[-keep:]
        if self.hsa is None:
            return x + self.mlp(self.mlp_norm(x))
        if memory is None or positions is None:
            raise ValueError("an HSA layer reads a memory at known positions: give both")
        read = self.hsa(self.hsa_norm(x), memory, positions, gathered)
        if self.bypass:
            return x + self.mlp(self.mlp_norm(x + read))
        x = x + read
        return x + self.mlp(self.mlp_norm(x))


class LanguageModel(nn.Module):
    """Embedding, the blocks below and above the memory, a norm and the output map."""

    def __init__(self, cfg: LMConfig, generator: torch.Generator | None = None):
        super().__init__()
        self.cfg = cfg
        words = cfg.plan.split()
        split = words.index("memory") if "memory" in words else len(words)
        self.embedding = nn.Embedding(cfg.vocab, cfg.width)
        self.lower = nn.ModuleList(Block(cfg, word) for word in words[:split])
        self.upper = nn.ModuleList(Block(cfg, word) for word in words[split + 1 :])
        self.encoder = None
        if "memory" in words:
            self.encoder = ChunkEncoder(cfg.width, cfg.num_heads, cfg.num_kv_heads, cfg.chunk, cfg.landmark, cfg.theta)
        self.norm, self.head = RMSNorm(cfg.width), Linear(cfg.width, cfg.vocab)
        self.initialise(generator or torch.Generator().manual_seed(0))

    def initialise(self, generator: torch.Generator) -> None:
        """All initial values in one place.

        embedding          normal, std 1               output maps (out, down)  normal, std 1 / sqrt(2 layers fan_in)
        landmark token     normal, std 1               other linear maps        normal, std 1 / sqrt(fan_in)
        gains of norms     1                           head                     normal, std 1 / sqrt(fan_in)
        with retrieval_init="identity": the retrieval query, the landmark map, and the encoder's value and output
        maps start as the identity, so that a chunk scores by the likeness of its mean to the query. "identity-read"
        adds the value and output maps of the reads, so that a read starts as a mean of hidden states.
        """
        depth = len(self.lower) + len(self.upper)
        for name, parameter in self.named_parameters():
            leaf = name.split(".")[-2]
            if name.endswith("gain"):
                nn.init.ones_(parameter)
            elif leaf == "embedding" or name == "encoder.token":
                nn.init.normal_(parameter, generator=generator)
            else:
                scale = 1 / math.sqrt(2 * depth) if leaf in ("out", "down") else 1.0
                nn.init.normal_(parameter, std=scale / math.sqrt(parameter.shape[-1]), generator=generator)
        if self.cfg.retrieval_init != "ordinary":
            for linear in self._retrieval_path():
                nn.init.eye_(linear.weight)

    def _retrieval_path(self) -> list[Linear]:
        queries = [block.hsa.retriever.query for block in self.upper if block.hsa is not None]
        encoder = [self.encoder.to_landmark, self.encoder.mix["value"], self.encoder.mix["out"]] if queries else []
        if self.cfg.retrieval_init == "identity-read" and queries:
            encoder += [self.encoder.to_value, *(block.hsa.out for block in self.upper if block.hsa is not None)]
        return queries + encoder

    def retrieval_parameters(self) -> list[nn.Parameter]:
        """The projections that decide which chunks are read: retrieval queries and landmarks."""
        if self.encoder is None:
            return []
        return [self.encoder.to_landmark.weight] + [
            block.hsa.retriever.query.weight for block in self.upper if block.hsa is not None
        ]

    def set_reading(self, window: int, top_k: int) -> None:
        """Change what a token may read, the window (tokens) and the number of chunks; parameters stay as they are."""
        if (window, top_k) == (self.cfg.window, self.cfg.top_k):
            return
        self.cfg = self.cfg.replace(window=window, top_k=top_k)
        for module in self.modules():
            if isinstance(module, SelfAttention) and module.window is not None:
                module.window = window
            if isinstance(module, Retriever):
                module.top_k = top_k

    def run_lower(self, tokens: Int[Tensor, "batch time"]) -> Hidden:
        """Hidden states at the depth of the memory (at the top, in a plan without one)."""
        x = self.embedding(tokens)
        for block in self.lower:
            x = block(x)
        return x

    def logits(self, x: Hidden) -> Float[Tensor, "batch time vocab"]:
        return self.head(self.norm(x))

    def forward(self, tokens: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time vocab"]:
        """Logits of the next token at every position."""
        x = self.run_lower(tokens)
        if self.encoder is not None:
            memory = self.encoder(x)
            positions = torch.arange(tokens.shape[1], device=tokens.device)
            many = memory.landmarks.shape[2] >= 4 * self.cfg.top_k  # then it is cheaper to read only the chosen chunks
            for block in self.upper:
                x = block(x, memory, positions, gathered=many)
        return self.logits(x)
