"""The gated delta rule: a linear memory that is corrected, not only added to (Gated DeltaNet, arXiv 2412.06464).

    S_t = a_t (I - b_t k_t k_t^T) S_{t-1} + b_t k_t v_t^T       a state of state x dim per head
    o_t = S_t^T q_t

b_t in [0, 1] says how much of the value stored under k_t is replaced, a_t in (0, 1] how much of everything is kept.
With a_t = 1 it is DeltaNet (arXiv 2406.06484): one gradient step of rate b_t on |S^T k_t - v_t|^2 / 2. Keys should
have length 1. Layout: (batch, head, time, dim).
"""

import torch
from jaxtyping import Float
from torch import Tensor

from lablib.ops.precision import wide
from lablib.ops.ssd import decay_matrix, in_chunks

Queries = Float[Tensor, "batch head time state"]
Values = Float[Tensor, "batch head time dim"]
Gates = Float[Tensor, "batch head time"]
State = Float[Tensor, "batch head state dim"]


def delta_recurrence(
    q: Queries, k: Queries, v: Values, beta: Gates, log_decay: Gates, state: State | None = None
) -> tuple[Values, State]:
    """The definition, token by token. Returns the outputs and the state after the last token."""
    state = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]) if state is None else state
    out = []
    for t in range(q.shape[2]):
        state = log_decay[:, :, t, None, None].exp() * state
        missing = v[:, :, t, None, :] - k[:, :, t, None, :] @ state
        state = state + beta[:, :, t, None, None] * k[:, :, t, :, None] * missing
        out.append(q[:, :, t, None, :] @ state)
    return torch.cat(out, dim=2) if out else v, state


def delta_chunked(
    q: Queries, k: Queries, v: Values, beta: Gates, log_decay: Gates, state: State | None = None, *, chunk: int = 32
) -> tuple[Values, State]:
    """The same by matrix products (arXiv 2412.06464, section 3.3).

    What a token of a chunk writes depends on what the tokens before it in the chunk have written: a triangular system,
    solved once for all. Any length: a ragged end is padded with tokens that write nothing. Inputs of 16 bits are
    computed in float32. Raises ValueError for a chunk below 1.
    """
    state = k.new_zeros(*k.shape[:2], k.shape[-1], v.shape[-1]) if state is None else state
    time, given = q.shape[2], q.dtype
    q, k, v, beta, log_decay = (wide(in_chunks(x, chunk)) for x in (q, k, v, beta, log_decay))
    if not time:
        return v.flatten(2, 3).to(given), state
    state = wide(state)
    decay = log_decay.cumsum(-1)
    matrix = decay_matrix(decay)
    # (I + A) u = beta v and (I + A) w = beta e^decay k, with A_ij = beta_i (k_i . k_j) e^(decay_i - decay_j) for j < i
    strictly = (beta[..., None] * (k @ k.mT) * matrix).tril(-1)
    system = strictly + torch.eye(chunk, dtype=q.dtype, device=q.device)
    right = torch.cat([beta[..., None] * v, (beta * decay.exp())[..., None] * k], dim=-1)
    solved = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True)
    u, w = solved.split([v.shape[-1], k.shape[-1]], dim=-1)
    reads = (q @ k.mT) * matrix
    left = (decay[..., -1:] - decay).exp()  # of what a token writes, at the end of its chunk
    out = []
    for c in range(q.shape[2]):
        corrected = u[:, :, c] - w[:, :, c] @ state  # what is truly written, given what was there
        out.append((q[:, :, c] * decay[:, :, c].exp()[..., None]) @ state + reads[:, :, c] @ corrected)
        kept = decay[:, :, c, -1].exp()[..., None, None] * state
        state = kept + (k[:, :, c] * left[:, :, c][..., None]).mT @ corrected
    return torch.cat(out, dim=2)[:, :, :time].to(given), state.to(given)
