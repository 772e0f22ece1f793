"""Causal attention with a cache: a text read whole, in pieces or token by token gives the same outputs."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lablib.nn.context import Context
from lablib.nn.layers import Hidden, Linear, RMSNorm
from lablib.nn.plan import HeadShape
from lablib.ops.attention import full_attention, sliding_window_attention
from lablib.ops.rope import rotary

Heads = Float[Tensor, "batch head time dim"]


class WindowCache(NamedTuple):
    """The last window - 1 keys, normed but not rotated, and values: positions count from the first one kept."""

    keys: Heads
    values: Heads


@dataclass(eq=False)
class Buffer:
    """Keys and values with room for more, `used` so far. Appending in place is for the newest state alone."""

    keys: Heads
    values: Heads
    used: int


class FullCache(NamedTuple):
    """The first `seen` keys (rotated by their positions) and values of a buffer."""

    buffer: Buffer
    seen: int

    @property
    def keys(self) -> Heads:
        return self.buffer.keys[:, :, : self.seen]

    @property
    def values(self) -> Heads:
        return self.buffer.values[:, :, : self.seen]

    def append(self, keys: Heads, values: Heads) -> "FullCache":
        """With the new ones behind; without gradients in amortised constant time a token."""
        seen, buffer = self.seen + keys.shape[2], self.buffer
        if torch.is_grad_enabled():
            return FullCache(Buffer(torch.cat([self.keys, keys], 2), torch.cat([self.values, values], 2), seen), seen)
        other = buffer.keys.is_inference() != torch.is_inference_mode_enabled()  # torch writes across in one way only
        if other or buffer.used != self.seen or seen > buffer.keys.shape[2]:
            room = (0, 0, 0, max(seen, 2 * self.seen) - self.seen)
            buffer = Buffer(F.pad(self.keys, room), F.pad(self.values, room), self.seen)
        buffer.keys[:, :, self.seen : seen], buffer.values[:, :, self.seen : seen] = keys, values
        buffer.used = seen
        return FullCache(buffer, seen)


class Attention(nn.Module):
    """Causal attention with QK-norm over the window of the context, or over all of the past if `full`.

    RoPE with base `theta`, or no positions (NoPE) if that is None. A state is the cache of what was read before.
    """

    def __init__(self, width: int, heads: HeadShape, *, full: bool, theta: float | None, bias: bool = False):
        super().__init__()
        self.num_heads, self.full, self.theta = heads.number, full, theta
        inner = heads.number * heads.dim
        self.query, self.key, self.value = (Linear(width, inner, bias) for _ in range(3))
        self.out = Linear(inner, width, bias)
        self.query_norm, self.key_norm = RMSNorm(heads.dim), RMSNorm(heads.dim)

    def forward(
        self, x: Hidden, state: WindowCache | FullCache | None, context: Context
    ) -> tuple[Hidden, WindowCache | FullCache]:
        q, k, v = (
            rearrange(project(x), "b t (h d) -> b h t d", h=self.num_heads)
            for project in (self.query, self.key, self.value)
        )
        q, k, time = self.query_norm(q), self.key_norm(k), q.shape[2]
        if self.full:
            if self.theta is not None:
                places = (0 if state is None else state.seen) + torch.arange(time, device=q.device)
                q, k = rotary(q, places, self.theta), rotary(k, places, self.theta)
            state = FullCache(Buffer(k, v, time), time) if state is None else state.append(k, v)
            mixed = full_attention(q, state.keys, state.values)
        else:
            if state is not None:
                k, v = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
            mixed = sliding_window_attention(q, k, v, context.window, theta=self.theta)
            kept = max(k.shape[2] - (context.window - 1), 0)
            state = WindowCache(k[:, :, kept:], v[:, :, kept:])
        return self.out(rearrange(mixed, "b h t d -> b t (h d)")), state
