"""State space duality: the recurrence of Mamba-2, and the same in chunks (Dao and Gu, arXiv 2405.21060, section 6).

    S_t = a_t S_{t-1} + v_t k_t^T        a state of dim x state per head, a_t in (0, 1] one number a head
    o_t = S_t q_t                        in the paper's letters q is C, k is B, v is dt * x, a is exp(dt * A)

With a_t = 1 this is linear attention. Layout: (batch, head, time, dim), as everywhere in `ops`.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from lablib.ops.precision import wide

Queries = Float[Tensor, "batch head time state"]
Values = Float[Tensor, "batch head time dim"]
Decays = Float[Tensor, "batch head time"]  # log a_t, at most 0
State = Float[Tensor, "batch head dim state"]


def ssd_recurrence(
    q: Queries, k: Queries, v: Values, log_decay: Decays, state: State | None = None
) -> tuple[Values, State]:
    """The definition, token by token. Returns the outputs and the state after the last token."""
    state = q.new_zeros(*q.shape[:2], v.shape[-1], q.shape[-1]) if state is None else state
    out = []
    for t in range(q.shape[2]):
        state = log_decay[:, :, t, None, None].exp() * state + v[:, :, t, :, None] * k[:, :, t, None, :]
        out.append(state @ q[:, :, t, :, None])
    return torch.cat(out, dim=-1).mT if out else v, state


def ssd_chunked(
    q: Queries, k: Queries, v: Values, log_decay: Decays, state: State | None = None, *, chunk: int = 64
) -> tuple[Values, State]:
    """The same by matrix products: inside a chunk as attention with decay, between chunks through the state.

    Any length: a ragged end is padded with tokens that write nothing and do not decay. Inputs of 16 bits are computed
    in float32: what decays between two tokens is a small difference of two large sums. Raises ValueError for a chunk
    below 1.
    """
    state = q.new_zeros(*q.shape[:2], v.shape[-1], q.shape[-1]) if state is None else state
    time, given = q.shape[2], q.dtype
    q, k, v, log_decay = (wide(in_chunks(x, chunk)) for x in (q, k, v, log_decay))
    if not time:
        return v.flatten(2, 3).to(given), state
    state = wide(state)
    decay = log_decay.cumsum(-1)
    # what a token reads of its own chunk
    within = ((q @ k.mT) * decay_matrix(decay)) @ v
    # what each chunk writes, and what is left of the state at its end
    written = (v * (decay[..., -1:] - decay).exp()[..., None]).mT @ k
    kept = decay[..., -1].exp()
    before = []
    for c in range(q.shape[2]):
        before.append(state)
        state = kept[:, :, c, None, None] * state + written[:, :, c]
    across = (q * decay.exp()[..., None]) @ torch.stack(before, dim=2).mT
    return rearrange(within + across, "b h c s d -> b h (c s) d")[:, :, :time].to(given), state.to(given)


def in_chunks(x: Float[Tensor, "batch head time ..."], size: int) -> Float[Tensor, "batch head chunk {size} ..."]:
    """The time in chunks, a ragged end padded with zeros. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"chunk is {size}; expected at least 1 token")
    padded = F.pad(x, (0, 0) * (x.ndim - 3) + (0, -x.shape[2] % size))
    return rearrange(padded, "b h (c s) ... -> b h c s ...", s=size)


def decay_matrix(decay: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size size"]:
    """exp(decay_i - decay_j) for j <= i, else 0, from cumulated log decays.

    Masked before exp, which overflows above the diagonal.
    """
    difference = decay[..., :, None] - decay[..., None, :]
    below = torch.ones(difference.shape[-2:], dtype=torch.bool, device=decay.device).tril()
    return difference.masked_fill(~below, -math.inf).exp()
