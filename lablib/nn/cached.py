"""Causal attention that goes on from a cache: whole texts, pieces of them, and single tokens give the same."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from lablib.nn.layers import Linear, RMSNorm
from lablib.ops.attention import attention_reference, continued_attention, full_attention, sliding_window_attention
from lablib.ops.rope import rotary

Hidden = Float[Tensor, "batch time width"]
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
        if buffer.used != self.seen or seen > buffer.keys.shape[2]:
            room = (0, 0, 0, max(seen, 2 * self.seen) - self.seen)
            buffer = Buffer(F.pad(self.keys, room), F.pad(self.values, room), self.seen)
        buffer.keys[:, :, self.seen : seen], buffer.values[:, :, self.seen : seen] = keys, values
        buffer.used = seen
        return FullCache(buffer, seen)


class CachedAttention(nn.Module):
    """Causal attention with QK-norm and RoPE over the last `window` positions, or over all if it is None."""

    def __init__(self, width: int, num_heads: int, window: int | None, theta: float):
        super().__init__()
        self.num_heads, self.window, self.theta = num_heads, window, theta
        self.query, self.key, self.value, self.out = (Linear(width, width) for _ in range(4))
        self.query_norm, self.key_norm = RMSNorm(width // num_heads), RMSNorm(width // num_heads)

    def forward(
        self, x: Hidden, state: WindowCache | FullCache | None = None, *, twice: bool = False
    ) -> tuple[Hidden, WindowCache | FullCache]:
        """`twice`: by operations that have a second derivative; the fused ones have none on any device."""
        q, k, v = (
            rearrange(project(x), "b t (h d) -> b h t d", h=self.num_heads)
            for project in (self.query, self.key, self.value)
        )
        attend = self._full if self.window is None else self._windowed
        mixed, state = attend(self.query_norm(q), self.key_norm(k), v, state, twice)
        return self.out(rearrange(mixed, "b h t d -> b t (h d)")), state

    def _windowed(
        self, q: Heads, k: Heads, v: Heads, state: WindowCache | None, twice: bool
    ) -> tuple[Heads, WindowCache]:
        time = q.shape[2]
        if state is not None:
            k, v = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        if twice or (state is not None and time <= self.window):
            mixed = continued_attention(q, k, v, self.window, theta=self.theta)
        else:  # in bands; the cached positions stand as queries that nobody reads
            q = F.pad(q, (0, 0, k.shape[2] - time, 0))
            mixed = sliding_window_attention(q, k, v, self.window, theta=self.theta)[:, :, -time:]
        kept = max(k.shape[2] - (self.window - 1), 0)
        return mixed, WindowCache(k[:, :, kept:], v[:, :, kept:])

    def _full(self, q: Heads, k: Heads, v: Heads, state: FullCache | None, twice: bool) -> tuple[Heads, FullCache]:
        if state is None and not twice:
            mixed = full_attention(q, k, v, theta=self.theta)
            places = torch.arange(q.shape[2], device=q.device)
            return mixed, FullCache(Buffer(rotary(k, places, self.theta), v, len(places)), len(places))
        seen = 0 if state is None else state.seen
        places = seen + torch.arange(q.shape[2], device=q.device)
        q, k = rotary(q, places, self.theta), rotary(k, places, self.theta)
        state = FullCache(Buffer(k, v, len(places)), len(places)) if state is None else state.append(k, v)
        mask = torch.arange(state.seen, device=q.device) <= places[:, None]
        attend = attention_reference if twice else F.scaled_dot_product_attention
        return attend(q, state.keys, state.values, mask), state
