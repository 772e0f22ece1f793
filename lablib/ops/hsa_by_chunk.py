"""Chosen chunks read chunk by chunk: the queries that chose a chunk meet it in one dense product.

The pairs (query, chunk) are sorted by chunk. With the readers of chunk c as the rows of q_c, and their weights w:

    P = softmax(q_c k_c^T / sqrt(d))            out[readers] += w P v_c

Backward computes P again, so that memory is O(time * top_k), whatever the size of a chunk. With dO the readers' rows of
the gradient of the output:

    e = sum over the chunk of P * (dO v_c^T)    dw = e, summed over the group      (e is <O_c, dO>)
    dS = w P * (dO v_c^T - e)                   dq[readers] += dS k_c / sqrt(d)
    dk_c = dS^T q_c / sqrt(d)                   dv_c = (w P)^T dO
"""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor

from lablib.ops import backend

READERS_AT_ONCE = 1024  # of a chunk: their products stay in a core's cache, and memory is bounded where all choose one
Rows = Float[Tensor, "head time width"]


class Part(NamedTuple):
    """A chunk, by its place among those of all heads, its head, and some of its readers: their rows and slots."""

    place: int
    head: int
    rows: Int[Tensor, " reader"]
    slots: Int[Tensor, " reader"]  # in the flattened weights


def read_by_chunk(
    q: Float[Tensor, "batch kv_head group time dim"],
    k: Float[Tensor, "store kv_head chunk size dim"],
    v: Float[Tensor, "store kv_head chunk size dim"],
    chunks: Int[Tensor, "batch kv_head time k"],
    weights: Float[Tensor, "batch kv_head time k"],
) -> Float[Tensor, "batch kv_head group time dim"]:
    """Sum over slots of weight * attention inside the slot's chunk; chunk -1 is an empty slot.

    Differentiable once, in q, k, v and weights. In 16 bits the products are those of 32.
    """
    batch, group = q.shape[0], q.shape[2]
    flat = "(b h) t" if len(k) == batch else "h (b t)"  # a store for all: its readers are of all rows of the batch
    wide = torch.float64 if q.dtype == torch.float64 else torch.float32
    rows = rearrange(q, f"b h g t d -> {flat} (g d)").to(wide)
    chunks, weights = (rearrange(x, f"b h t k -> {flat} k") for x in (chunks, weights))
    out = _ByChunk.apply(rows, k.flatten(0, 1).to(wide), v.flatten(0, 1).to(wide), chunks, weights.to(wide))
    return rearrange(out, f"{flat} (g d) -> b h g t d", b=batch, h=k.shape[1], g=group).to(q.dtype)


def parts(chunks: Int[Tensor, "head time k"], num_chunks: int) -> Iterator[Part]:
    """All readers, chunk after chunk, head after head."""
    heads, time, slots = chunks.shape
    entries, offsets = backend.inverse_index(chunks[:, None], num_chunks)
    entries = entries.long()
    rows, borders = entries // slots, offsets.tolist()
    for place in range(heads * num_chunks):
        head, last = place // num_chunks, borders[place + 1]
        for first in range(borders[place], last, READERS_AT_ONCE):
            some = slice(first, min(first + READERS_AT_ONCE, last))
            yield Part(place, head, rows[some], entries[some] + head * time * slots)


class _ByChunk(torch.autograd.Function):
    """Forward and first derivative; the second raises."""

    @staticmethod
    def forward(q: Rows, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor) -> Rows:
        out, shares = torch.zeros_like(q), weights.flatten()
        keys, values = k.flatten(0, 1), v.flatten(0, 1)
        for part in parts(chunks, k.shape[1]):
            b_p = _probabilities(_of_readers(q, part, keys), keys[part.place])
            b_o = (b_p @ values[part.place]).view(len(part.rows), -1)
            out[part.head].index_add_(0, part.rows, b_o.mul_(shares[part.slots, None]))
        return out

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, do: Rows):
        q, k, v, chunks, weights = ctx.saved_tensors
        with torch.no_grad():
            found = _gradients(q, k, v, chunks, weights, do.contiguous())
        dq, dk, dv, dweights = (backend.once(gradient, q, k, v, weights, do) for gradient in found)
        return dq, dk, dv, None, dweights


def _of_readers(x: Rows, part: Part, keys: Tensor) -> Float[Tensor, "row dim"]:
    """The rows of a part's readers, a row a head of the group."""
    return x[part.head].index_select(0, part.rows).view(-1, keys.shape[-1])


def _probabilities(b_q: Float[Tensor, "row dim"], key: Float[Tensor, "size dim"]) -> Float[Tensor, "row size"]:
    return ((b_q @ key.mT) / math.sqrt(key.shape[-1])).softmax(-1)


def _gradients(q: Rows, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor, do: Rows) -> tuple[Tensor, ...]:
    """Gradients of q, k, v and weights."""
    dq, dk, dv, dweights = (torch.zeros_like(x) for x in (q, k, v, weights))
    keys, values, dkeys, dvalues = (x.flatten(0, 1) for x in (k, v, dk, dv))
    shares, dshares = weights.flatten(), dweights.view(-1)
    scale, group = 1 / math.sqrt(k.shape[-1]), q.shape[-1] // k.shape[-1]
    for part in parts(chunks, k.shape[1]):
        b_q, b_do = (_of_readers(x, part, keys) for x in (q, do))
        b_p = _probabilities(b_q, keys[part.place])
        share = shares[part.slots].repeat_interleave(group)[:, None]
        b_dp = b_do @ values[part.place].mT
        b_e = (b_p * b_dp).sum(-1, keepdim=True)
        dshares[part.slots] = b_e.view(-1, group).sum(-1)
        b_p.mul_(share)
        dvalues[part.place] += b_p.mT @ b_do
        b_ds = b_dp.sub_(b_e).mul_(b_p).mul_(scale)
        dkeys[part.place] += b_ds.mT @ b_q
        dq[part.head].index_add_(0, part.rows, (b_ds @ keys[part.place]).view(len(part.rows), -1))
    return dq, dk, dv, dweights
