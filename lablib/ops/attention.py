"""Full causal attention and banded sliding-window attention, with and without RoPE and attention sinks.

Layout: (batch, head, time, dim). Keys and values may have fewer heads than queries (grouped-query attention,
arXiv 2305.13245); head h of the queries then reads head h // group of the keys.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Bool, Float
from torch import Tensor

from lablib.ops import backend
from lablib.ops.rope import rotary

Queries = Float[Tensor, "batch head time dim"]
Keys = Float[Tensor, "batch kv_head keys dim"]  # at least as many as queries, which stand at the last positions


def window_mask(
    time: int, window: int, device: torch.device | None = None, *, sinks: int = 0
) -> Bool[Tensor, "time time"]:
    """True where query i may read key j: the last `window` positions, itself included (i - window < j <= i).

    With `sinks` also the first so many positions, wherever the window is (arXiv 2309.17453, section 3.2).
    """
    i, j = torch.arange(time, device=device)[:, None], torch.arange(time, device=device)
    return (j <= i) & ((j > i - window) | (j < sinks))


def attention_reference(q: Queries, k: Keys, v: Keys, mask: Bool[Tensor, "time keys"]) -> Queries:
    """The definition, with the whole matrix on the page: softmax(q k^T / sqrt(dim) + mask) v."""
    group = q.shape[1] // k.shape[1]
    k, v = (repeat(x, "b h t d -> b (h g) t d", g=group) for x in (k, v))
    logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return logits.masked_fill(~mask, -math.inf).softmax(dim=-1) @ v


def full_attention(q: Queries, k: Keys, v: Keys, *, theta: float | None = None) -> Queries:
    """Causal attention over all of the past; RoPE with base `theta`, or no positions (NoPE) if None.

    Where there are fewer queries than keys, the queries stand at the last positions: behind a cache.
    """
    _check(q, k, v)
    q, k, mask = _placed(q, k, None, theta)
    if backend.is_plain():
        return attention_reference(q, k, v, mask)
    grouped = q.shape[1] != k.shape[1]
    if q.shape[-2] == k.shape[-2]:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=grouped)
    return F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=grouped)


def sliding_window_attention(
    q: Queries, k: Keys, v: Keys, window: int, *, sinks: int = 0, theta: float | None = None, block: int | None = None
) -> Queries:
    """Causal attention to the last `window` positions, in blocks of queries; memory O(time * (window + block)).

    `sinks`: the first so many keys given stay visible beside the window (attention sinks, arXiv 2309.17453).
    Where there are fewer queries than keys, the queries stand at the last positions: behind a cache. RoPE counts from
    the first key given; phases are relative, so without sinks a cache of the last window - 1 keys is enough. By a
    Triton kernel where `lablib/ops/backend.py` says so. In torch a block of queries reads the `block + window - 1` keys
    that end with it (and the sinks), with RoPE positions local to that stretch: phases are exact at any length.
    ValueError for a window below 1 or sinks below 0.
    """
    time, length = q.shape[-2], k.shape[-2]
    _check(q, k, v)
    if window < 1:
        raise ValueError(f"window is {window}; expected at least 1 (a token always reads itself)")
    if sinks < 0:
        raise ValueError(f"sinks is {sinks}; expected 0 (none) or more")
    if backend.is_plain() or (time < length and time <= window):
        q, k, mask = _placed(q, k, window, theta, sinks)
        return attention_reference(q, k, v, mask)
    if time < length:  # the cached positions stand as queries that nobody reads
        padded = F.pad(q, (0, 0, length - time, 0))
        return sliding_window_attention(padded, k, v, window, sinks=sinks, theta=theta, block=block)[:, :, -time:]
    if backend.kernels_wanted(q):
        positions = torch.arange(time, device=q.device)
        turned = (q, k) if theta is None else (rotary(q, positions, theta), rotary(k, positions, theta))
        if kernel := backend.kernel("sliding-window attention", *turned, v, window, sinks):
            return kernel.sliding_window_attention(*turned, v, window, sinks=sinks)
    if window + sinks >= time or not len(q):  # nothing of the past is hidden, or there is none
        return full_attention(q, k, v, theta=theta)
    return _banded(q, k, v, window, theta, block or min(max(window, 8), 128), sinks)


def _check(q: Tensor, k: Tensor, v: Tensor) -> None:
    """ValueError for keys and values that the queries cannot read."""
    (batch, heads, time, dim), shared = q.shape, k.shape[1]
    unfit = k.shape != v.shape or (k.shape[0], k.shape[3]) != (batch, dim) or not shared or heads % shared
    if unfit or k.shape[2] < time:
        came = f"q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}"
        raise ValueError(f"{came}; expected heads that divide q's, and at least as many keys as queries")


def _placed(
    q: Queries, k: Keys, window: int | None, theta: float | None, sinks: int = 0
) -> tuple[Queries, Keys, Bool[Tensor, "time keys"]]:
    """Queries and keys rotated by their positions, and which keys each query may read."""
    places = torch.arange(k.shape[-2], device=q.device)
    last = places[k.shape[-2] - q.shape[-2] :]
    if theta is not None:
        q, k = rotary(q, last, theta), rotary(k, places, theta)
    mask = places <= last[:, None]
    return q, k, mask if window is None else mask & ((places > last[:, None] - window) | (places < sinks))


def _banded(q: Queries, k: Keys, v: Keys, window: int, theta: float | None, block: int, sinks: int) -> Queries:
    batch, time = q.shape[0], q.shape[-2]
    num_blocks, past = math.ceil(time / block), window - 1
    padding = num_blocks * block - time
    q_blocks = rearrange(F.pad(q, (0, 0, 0, padding)), "b h (n l) d -> (b n) h l d", l=block)
    k_blocks, v_blocks = (
        rearrange(F.pad(x, (0, 0, past, padding)).unfold(2, past + block, block), "b h n d m -> (b n) h m d")
        for x in (k, v)
    )
    local = torch.arange(past + block, device=q.device)
    if theta is not None:
        q_blocks, k_blocks = rotary(q_blocks, local[past:], theta), rotary(k_blocks, local, theta)
    # query l of a block reads the keys l .. l + window - 1 of its stretch, unless they lie before the sequence
    query, start = local[:block, None], torch.arange(num_blocks, device=q.device)[:, None, None] * block - past
    band = (local >= query) & (local < query + window) & (start + local >= 0)
    if sinks:
        first = torch.arange(sinks, device=q.device)
        k_first, v_first = (x[:, :, :sinks].repeat(1, 1, num_blocks, 1) for x in (k, v))
        if theta is not None:  # their positions, too, are counted from the beginning of each block's stretch
            k_first = rotary(k_first, (first - start[:, 0]).flatten(), theta)
        k_first, v_first = (rearrange(x, "b h (n s) d -> (b n) h s d", s=sinks) for x in (k_first, v_first))
        k_blocks, v_blocks = torch.cat([k_first, k_blocks], dim=2), torch.cat([v_first, v_blocks], dim=2)
        band = torch.cat([first <= start + past + query - window, band], dim=-1)  # those that the window has left
    band = band[:, None].repeat(batch, 1, 1, 1)
    out = F.scaled_dot_product_attention(q_blocks, k_blocks, v_blocks, band, enable_gqa=q.shape[1] != k.shape[1])
    return rearrange(out, "(b n) h l d -> b h (n l) d", b=batch)[:, :, :time]
