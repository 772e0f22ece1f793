"""The one language model: a plan of layers between an embedding and an output map (`lablib/nn/plan.py`)."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from lablib.core.refusals import at_least, known_ids
from lablib.nn.attention import Attention, FullCache
from lablib.nn.context import Context, Memory
from lablib.nn.hsa import ChunkEncoder, SparseAttention
from lablib.nn.init import initialise
from lablib.nn.layers import Hidden, Linear, RMSNorm, SquaredReLU, SwiGLU
from lablib.nn.plan import ATTENTION, HeadShape, Layer, ModelConfig
from lablib.nn.recurrent import GatedDeltaNet, KeyValueBinding, Mamba2
from lablib.nn.surgery import plain_module, plain_name

Waiting = Float[Tensor, "batch waiting width"]
Tokens = Int[Tensor, "batch time"]
Logits = Float[Tensor, "batch time vocab"]
LayerStates = list[Any]  # one a layer, each a list of one a mixer


class Residual(nn.Module):
    """One part of a layer between its norms: after(part(before(x))), to be added to x."""

    def __init__(self, part: nn.Module, cfg: ModelConfig):
        super().__init__()
        self.before, self.part = RMSNorm(cfg.width), part
        self.after = RMSNorm(cfg.width) if cfg.norm == "sandwich" else nn.Identity()

    def forward(self, x: Hidden, *given: Any) -> Hidden | tuple[Hidden, Any]:
        """`given` goes to the part. What a part returns beside its output (a state, a loss) is returned too."""
        y = self.part(self.before(x), *given)
        return (self.after(y[0]), y[1]) if isinstance(y, tuple) else self.after(y)


class Block(nn.Module):
    """One layer of the plan: mixers, then the second MLP and the MLP where the plan has them."""

    def __init__(self, cfg: ModelConfig, layer: Layer):
        super().__init__()
        mixers = zip(layer.mixers, layer.heads, strict=True)
        self.mixers = nn.ModuleList(Residual(_mixer(cfg, name, heads), cfg) for name, heads in mixers)
        self.prime = None if layer.prime is None else Residual(SwiGLU(cfg.width, layer.prime, cfg.bias), cfg)
        kind, hidden = layer.mlp or (None, 0)
        mlp = SquaredReLU if kind == "relu2" else SwiGLU
        self.mlp = None if kind is None else Residual(mlp(cfg.width, hidden, cfg.bias), cfg)

    def forward(
        self, x: Hidden, states: list | None, context: Context, *, keep: int | None = None
    ) -> tuple[Float[Tensor, "batch kept width"], list]:
        """`keep`: only the last positions go on; attention still reads all of `x`, HSA and MLPs work for them alone."""
        if keep is not None:
            at_least(1, keep=keep)
        after, aside = [], None
        for mixer, state in zip(self.mixers, states or [None] * len(self.mixers), strict=True):
            sparse = isinstance(plain_module(mixer.part), SparseAttention)
            if sparse and keep is not None:
                x, context = x[:, -keep:], context.last(keep)
            mixed, state = mixer(x, state, context)
            after.append(state)
            if sparse and mixer.part.bypass:
                aside = mixed
            else:
                x = x + mixed
        x = x if keep is None else x[:, -keep:]
        if self.prime is not None:
            x = x + self.prime(x)
        if self.mlp is not None:
            y = self.mlp(x if aside is None else x + aside)
            if isinstance(y, tuple):  # an MLP may return an auxiliary loss
                y, loss = y
                context.losses.append(loss)
            x = x + y
        return x, after


def _mixer(cfg: ModelConfig, name: str, heads: HeadShape | None) -> nn.Module:
    if name in ATTENTION:
        theta, heads = (
            None if name == "full-nope" else cfg.theta,
            heads or HeadShape(cfg.num_heads, cfg.width // cfg.num_heads),
        )
        return Attention(cfg.width, heads, full=name != "swa", theta=theta, bias=cfg.bias)
    if name == "hsa":
        return SparseAttention(cfg)
    if name == "mamba2":
        heads = heads or HeadShape(cfg.num_heads, 2 * cfg.width // cfg.num_heads)
        return Mamba2(cfg.width, heads, cfg.state, cfg.chunk, cfg.groups)
    if name == "delta":
        return GatedDeltaNet(cfg.width, cfg.num_heads, cfg.chunk)
    simple = name == "kvb-simple"
    return KeyValueBinding(cfg.width, cfg.num_heads, cfg.chunk, cfg.bind_rate, cfg.bind_clip, simple)


def run_blocks(
    blocks: Iterable[nn.Module], x: Hidden, states: LayerStates | None, context: Context
) -> tuple[Hidden, LayerStates]:
    """Layer after layer; None as the states is the beginning of a text."""
    blocks, after = list(blocks), []
    for block, state in zip(blocks, states or [None] * len(blocks), strict=True):
        x, state = block(x, state, context)
        after.append(state)
    return x, after


class State(NamedTuple):
    """Where a text stands after `seen` tokens: what the layers keep, and for HSA the memory and what waits for it."""

    seen: int
    layers: LayerStates
    memory: Memory | None = None
    waiting: Waiting | None = None  # hidden states, at the depth of the memory, of the chunk that is not complete


def state_bytes(state: Any) -> int:
    """Bytes of all that a text has left to go on from: caches, memories, inner models."""
    if isinstance(state, Tensor):
        return state.nbytes
    if isinstance(state, FullCache):
        return state_bytes((state.keys, state.values))
    parts = state.values() if isinstance(state, dict) else state
    return sum(state_bytes(part) for part in parts) if isinstance(state, dict | list | tuple) else 0


class Upper(nn.Module):
    """The layers from some depth on, with the norm and the output map: hidden states -> logits."""

    def __init__(self, blocks: Sequence[nn.Module], norm: nn.Module, head: nn.Module):
        super().__init__()
        self.blocks, self.norm, self.head = nn.ModuleList(blocks), norm, head

    def forward(self, x: Hidden, states: LayerStates | None, context: Context) -> tuple[Logits, LayerStates]:
        x, states = run_blocks(self.blocks, x, states, context)
        return self.head(self.norm(x)), states


class LanguageModel(nn.Module):
    """Embedding, layers, a norm and the output map; an encoder of chunks where the plan has a memory.

    `window` and `top_k` are what a token reads now; `set_reading` changes them.
    """

    def __init__(self, cfg: ModelConfig, generator: Generator | None = None):
        super().__init__()
        self.cfg, self.window, self.top_k = cfg, cfg.window, cfg.top_k
        plan = cfg.layers
        self.embedding = nn.Embedding(cfg.vocab, cfg.width)
        blocks = [block for layer in plan.layers for block in [Block(cfg, layer)] * layer.times]
        self.blocks = nn.ModuleList(blocks)
        self.split = sum(layer.times for layer in plan.layers[: plan.memory_above])  # layers below the memory
        self.encoder = None if plan.memory_above is None else ChunkEncoder(cfg)
        self.norm, self.head = RMSNorm(cfg.width), Linear(cfg.width, cfg.vocab)
        initialise(self, plan.depth, cfg.retrieval_init, generator or Generator().manual_seed(0))

    @property
    def lower(self) -> list[nn.Module]:
        """The layers below the memory (all, in a plan without one)."""
        return list(self.blocks)[: self.split]

    @property
    def upper(self) -> list[nn.Module]:
        """The layers above the memory."""
        return list(self.blocks)[self.split :]

    @property
    def reach(self) -> int:
        """How many positions back the stacked sliding windows can carry information."""
        return self.reach_of(self.blocks)

    def reach_of(self, blocks: Iterable[Block]) -> int:
        """The reach of some of the layers."""
        parts = [plain_module(mixer.part) for block in blocks for mixer in block.mixers]
        return sum(isinstance(part, Attention) and not part.full for part in parts) * (self.window - 1)

    def set_reading(self, window: int, top_k: int) -> None:
        """Change what a token may read, the window (tokens) and the number of chunks; parameters stay as they are."""
        at_least(1, window=window, top_k=top_k)
        self.window, self.top_k = window, top_k

    def context(self, **fields: Any) -> Context:
        """The context of a pass as the model now reads."""
        return Context(self.window, self.top_k, **fields)

    def retrieval_parameters(self) -> list[nn.Parameter]:
        """The projections that decide which chunks are read: landmarks and retrieval queries."""
        if self.encoder is None:
            return []
        queries = [module.retriever.query.weight for module in self.modules() if isinstance(module, SparseAttention)]
        return [self.encoder.to_landmark.weight, *queries]

    def hsa_parameters(self) -> dict[str, nn.Parameter]:
        """All parameters of the HSA path by name: its layers with their norms, and the chunk encoder."""
        residuals = [module for module in self.modules() if isinstance(module, Residual)]
        path = [module for module in residuals if isinstance(plain_module(module.part), SparseAttention)]
        path += [module for module in self.modules() if isinstance(module, ChunkEncoder)]
        inside = {id(parameter) for module in path for parameter in module.parameters()}
        return {plain_name(name): p for name, p in self.named_parameters() if id(p) in inside}

    def embed(self, tokens: Tokens) -> Hidden:
        """The embedded tokens. ValueError for what is no (batch, time) of ids below `vocab`."""
        if tokens.ndim != 2 or tokens.dtype not in (torch.int32, torch.int64):
            raise ValueError(f"tokens are {tokens.dtype} of shape {tuple(tokens.shape)}; expected int64, (batch, time)")
        try:
            return self.embedding(tokens)
        except IndexError:
            known_ids(self.cfg.vocab, tokens=tokens)  # looked at only now: it costs a pass over the tokens
            raise

    def run_lower(self, tokens: Tokens) -> Hidden:
        """Hidden states of a whole text at the depth of the memory (at the top, in a plan without one)."""
        return run_blocks(self.lower, self.embed(tokens), None, self.context())[0]

    def logits(self, x: Hidden) -> Logits:
        return self.head(self.norm(x))

    def forward(self, tokens: Tokens) -> Logits:
        """Logits of the next token at every position."""
        return self.read(tokens)[0]

    def read(self, tokens: Tokens, state: State | None = None) -> tuple[Logits, State]:
        """The logits, and the state to go on from: a text read in pieces is the text read whole."""
        return self.run(tokens, state)[:2]

    def run(self, tokens: Tokens, state: State | None = None) -> tuple[Logits, State, list[Tensor]]:
        """The same, and the auxiliary losses that layers returned."""
        state = state or State(0, [None] * len(self.blocks))
        x, context = self.embed(tokens), self.context()
        if not tokens.numel():  # nothing was read
            return self.logits(x), state, context.losses
        seen, layers, memory, waiting = state
        x, lower = run_blocks(self.lower, x, layers[: self.split], context)
        if self.encoder is not None:
            memory, waiting = self._remember(x, memory, waiting)
            many = memory.landmarks.shape[2] >= 4 * self.top_k  # then it is cheaper to read only the chosen chunks
            positions = seen + torch.arange(tokens.shape[1], device=tokens.device)
            context = self.context(positions=positions, memory=memory, gathered=many, losses=context.losses)
        x, upper = run_blocks(self.upper, x, layers[self.split :], context)
        return self.logits(x), State(seen + tokens.shape[1], lower + upper, memory, waiting), context.losses

    def _remember(
        self, x: Hidden, memory: Memory | None, waiting: Waiting | None
    ) -> tuple[Memory, Float[Tensor, "batch open width"]]:
        """The memory with the chunks that `x` completes, and the hidden states of the chunk that is still open."""
        x = x if waiting is None else torch.cat([waiting, x], dim=1)
        fresh = self.encoder(x)
        if memory is not None:
            fresh = Memory(*(torch.cat(pair, dim=2) for pair in zip(memory, fresh, strict=True)))
        return fresh, x[:, x.shape[1] // self.cfg.chunk * self.cfg.chunk :]

    def upper_from(self, first: int) -> Upper:
        """The layers from `first` on with the output, made of this model's own modules."""
        return Upper(list(self.blocks)[first:], self.norm, self.head)
