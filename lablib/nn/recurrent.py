"""Token mixers with a state of fixed size: Mamba-2, Gated DeltaNet, and TTT by key-value binding.

Each maps hidden states, a state and the context to hidden states and the state after them, so a text can be read in
pieces. The state None is the beginning of a text. The context is not used.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn

from lablib.nn.context import Context
from lablib.nn.layers import Hidden, Linear, RMSNorm
from lablib.nn.plan import HeadShape
from lablib.ops.delta import delta_chunked
from lablib.ops.fast_weights import Fast, inner_step, per_sequence
from lablib.ops.grad_mode import outside_inference_mode
from lablib.ops.precision import wide
from lablib.ops.ssd import ssd_chunked

Tail = Float[Tensor, "batch past width"]


class RecurrentState(NamedTuple):
    """The memory of each head, and the last inputs that the short convolution still reads."""

    memory: Tensor
    tail: Tail


class ShortConvolution(nn.Module):
    """A causal convolution over the last `size` positions, channel by channel, then SiLU."""

    def __init__(self, channels: int, size: int = 4):
        super().__init__()
        self.size = size
        self.kernel = nn.Parameter(torch.zeros(channels, size))

    def forward(self, x: Hidden, tail: Tail | None) -> tuple[Hidden, Tail]:
        """Also returns the last size - 1 inputs, the `tail` of what comes next."""
        before = x.new_zeros(x.shape[0], self.size - 1, x.shape[2]) if tail is None else tail
        x = torch.cat([before, x], dim=1)
        if x.shape[1] < self.size:  # no token came
            return x[:, :0], x
        mixed = F.conv1d(x.mT, self.kernel[:, None], groups=x.shape[2]).mT
        return F.silu(mixed), x[:, x.shape[1] - (self.size - 1) :]


class Mamba2(nn.Module):
    """Mamba-2 (arXiv 2405.21060, section 7): x, B and C through a short convolution, a decay a head, a gate, a norm.

    `state` is the size N of the state. The heads of a group share B and C, and the gated norm is over each group.
    """

    def __init__(self, width: int, heads: HeadShape, state: int, chunk: int, groups: int = 1):
        super().__init__()
        num_heads, self.inner = heads.number, heads.number * heads.dim
        self.num_heads, self.chunk, self.groups = num_heads, chunk, groups
        self.shared = groups * state  # width of B, and of C
        self.into = Linear(width, 2 * self.inner + 2 * self.shared + num_heads)  # gate; x, B, C; dt
        self.convolution = ShortConvolution(self.inner + 2 * self.shared)
        self.log_rate = nn.Parameter(torch.zeros(num_heads))  # A = -exp(log_rate)
        self.step_bias = nn.Parameter(torch.zeros(num_heads))
        self.skip = nn.Parameter(torch.ones(num_heads))
        self.norm, self.out = RMSNorm(self.inner, groups), Linear(self.inner, width)

    def forward(
        self, x: Hidden, state: RecurrentState | None = None, context: Context | None = None
    ) -> tuple[Hidden, RecurrentState]:
        memory, tail = state or (None, None)
        gate, mixed, step = self.into(x).split([self.inner, self.inner + 2 * self.shared, self.num_heads], dim=-1)
        mixed, tail = self.convolution(mixed, tail)
        values, k, q = mixed.split([self.inner, self.shared, self.shared], dim=-1)
        values = rearrange(values, "b t (h d) -> b h t d", h=self.num_heads)
        each = self.num_heads // self.groups
        k, q = (repeat(part, "b t (g n) -> b (g each) t n", g=self.groups, each=each) for part in (k, q))
        step = F.softplus(step + self.step_bias).mT  # (batch, head, time)
        log_decay = -step * self.log_rate.exp()[:, None]
        read, memory = ssd_chunked(q, k, values * step[..., None], log_decay, memory, chunk=self.chunk)
        read = rearrange(read + self.skip[:, None, None] * values, "b h t d -> b t (h d)")
        return self.out(self.norm(read * F.silu(gate))), RecurrentState(memory, tail)


class GatedDeltaNet(nn.Module):
    """Gated DeltaNet (arXiv 2412.06464, section 3.4): keys and queries of length 1, a write gate and a decay a head."""

    def __init__(self, width: int, num_heads: int, chunk: int):
        super().__init__()
        self.num_heads, self.chunk = num_heads, chunk
        self.into, self.gate = Linear(width, 3 * width), Linear(width, width)
        self.to_beta, self.to_step = Linear(width, num_heads), Linear(width, num_heads)
        self.convolution = ShortConvolution(3 * width)
        self.log_rate = nn.Parameter(torch.zeros(num_heads))
        self.step_bias = nn.Parameter(torch.zeros(num_heads))
        self.norm, self.out = RMSNorm(width // num_heads), Linear(width, width)

    def forward(
        self, x: Hidden, state: RecurrentState | None = None, context: Context | None = None
    ) -> tuple[Hidden, RecurrentState]:
        memory, tail = state or (None, None)
        mixed, tail = self.convolution(self.into(x), tail)
        q, k, v = rearrange(mixed, "b t (three h d) -> three b h t d", three=3, h=self.num_heads)
        q, k = (F.normalize(wide(part), dim=-1).to(part.dtype) for part in (q, k))
        beta = self.to_beta(x).sigmoid().mT
        log_decay = -F.softplus(self.to_step(x) + self.step_bias).mT * self.log_rate.exp()[:, None]
        read, memory = delta_chunked(q, k, v, beta, log_decay, memory, chunk=self.chunk)
        read = rearrange(self.norm(read), "b h t d -> b t (h d)")
        return self.out(read * F.silu(self.gate(x))), RecurrentState(memory, tail)


class Bound(NamedTuple):
    """The inner model of each head, and the keys and values of a chunk that is not complete yet."""

    fast: Fast
    keys: Float[Tensor, "batch head pending dim"]
    values: Float[Tensor, "batch head pending dim"]


class KeyValueBinding(nn.Module):
    """TTT-KVB: each head learns to give the value for the key, |g(k; W) - v|^2, chunk by chunk, and answers queries.

    arXiv 2512.23675, equations 7 and 8, after 2407.04620 and 2505.23884; g is a gated MLP. Queries read the weights
    that the chunks before have left (equation 8, of single tokens, reads after the write: with chunks a token would
    see those behind it). With `simplified` (equation 9) there are none: the answer is g(k; W), as for the loss.
    """

    def __init__(self, width: int, num_heads: int, chunk: int, rate: float, clip: float, simplified: bool):
        super().__init__()
        dim = width // num_heads
        self.num_heads, self.chunk, self.rate, self.clip = num_heads, chunk, rate, clip
        self.query = None if simplified else Linear(width, width)
        self.key, self.value, self.out = Linear(width, width), Linear(width, width), Linear(width, width)
        shapes = {"gate": (2 * dim, dim), "up": (2 * dim, dim), "down": (dim, 2 * dim)}
        self.start = nn.ParameterDict({name: nn.Parameter(torch.zeros(num_heads, *s)) for name, s in shapes.items()})
        self.log_rate = nn.Parameter(torch.zeros(()))
        self.key_norm, self.norm = RMSNorm(dim), RMSNorm(dim)

    def forward(self, x: Hidden, state: Bound | None = None, context: Context | None = None) -> tuple[Hidden, Bound]:
        split = lambda y: rearrange(y, "b t (h d) -> b h t d", h=self.num_heads)  # noqa: E731
        k, v = self.key_norm(split(self.key(x))), split(self.value(x))
        q = k if self.query is None else self.key_norm(split(self.query(x)))
        if state is None:
            state = Bound(per_sequence(dict(self.start), len(x)), k[:, :, :0], v[:, :, :0])
        read = []
        while k.shape[2]:
            room = self.chunk - state.keys.shape[2]
            read.append(gated(state.fast, q[:, :, :room]))
            keys, values = (torch.cat([a, b[:, :, :room]], 2) for a, b in ((state.keys, k), (state.values, v)))
            q, k, v = (part[:, :, room:] for part in (q, k, v))
            state = Bound(state.fast, keys, values)
            if keys.shape[2] == self.chunk:
                state = Bound(self._bind(state), keys[:, :, :0], values[:, :, :0])
        mixed = self.norm(torch.cat(read, dim=2) if read else q)
        return self.out(rearrange(mixed, "b h t d -> b t (h d)")), state

    @outside_inference_mode
    def _bind(self, state: Bound) -> Fast:
        """One step on the mean over the chunk of |g(k) - v|^2, summed over heads and dimensions."""

        def loss(fast: Fast) -> tuple[Tensor, None]:
            missing = wide(gated(fast, state.keys) - state.values)
            return missing.square().sum((1, 3)).mean(1), None

        order = "exact" if torch.is_grad_enabled() else "none"
        return inner_step(state.fast, loss, self.rate * self.log_rate.exp(), clip=self.clip, order=order)[0]


def gated(weights: Fast, x: Float[Tensor, "batch head time dim"]) -> Float[Tensor, "batch head time dim"]:
    """down(silu(gate x) * up x) with weights of its own for each sequence and head."""
    return (F.silu(x @ weights["gate"].mT) * (x @ weights["up"].mT)) @ weights["down"].mT
