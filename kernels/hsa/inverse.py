"""The inverse of a selection: for each chunk, who chose it and in which slot, in compressed rows (CSR)."""

from typing import NamedTuple

import torch
from torch import Tensor


class Inverse(NamedTuple):
    """`entries[offsets[i] : offsets[i + 1]]` are the readers of chunk i, counted over batch, kv_head and chunk.

    A reader is `token * slots + slot`, int32, in the order of the text; offsets are int64: of all heads together there
    may be more than 2^31 readers. Memory is O(time * slots).
    """

    entries: Tensor
    offsets: Tensor


def inverse_index(chunks: Tensor, num_chunks: int) -> Inverse:
    """From chunks (batch, kv_head, time, slot); -1 is nobody's. A chunk chosen twice has the reader twice."""
    flat = chunks.flatten(0, 1).flatten(1).long()
    heads, places = flat.shape
    row = torch.arange(heads, device=chunks.device)[:, None]
    keys = torch.where(flat >= 0, row * num_chunks + flat, heads * num_chunks).flatten()
    ordered, order = keys.sort(stable=True)
    offsets = torch.searchsorted(ordered, torch.arange(heads * num_chunks + 1, device=chunks.device))
    return Inverse((order % places).int(), offsets)
