"""Small random cases of hierarchical sparse attention, in double precision."""

import math

import pytest
import torch

from lablib.ops.hsa import Selection, attend_by_chunk, attend_dense, attend_gathered, select_chunks

FUSIONS = ("softmax", "stick-breaking", "concat")
READS = {"dense": attend_dense, "gathered": attend_gathered, "in blocks": lambda *x: attend_gathered(*x, block=5)}
ALL_READS = READS | {"by chunk": attend_by_chunk}  # that has no "concat"
PAIRS = {f"{name}, {fusion}": (read, fusion) for name, read in ALL_READS.items() for fusion in FUSIONS}
del PAIRS["by chunk, concat"]
reads = pytest.mark.parametrize("read", ALL_READS.values(), ids=ALL_READS.keys())
reads_with_concat = pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
reads_and_fusions = pytest.mark.parametrize(("read", "fusion"), PAIRS.values(), ids=PAIRS.keys())
fusions = pytest.mark.parametrize("fusion", FUSIONS)

BATCH, HEADS, GROUP, SIZE, DIM = 2, 2, 3, 4, 6


def randn(generator, *shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def draw_memory(generator, chunks: int, store: int = BATCH):
    """Landmarks, keys, values."""
    tokens = (store, HEADS, chunks, SIZE, DIM)
    return randn(generator, store, HEADS, chunks, DIM), randn(generator, *tokens), randn(generator, *tokens)


def draw_case(generator, time: int, chunks: int, top_k: int, store: int = BATCH):
    """Attention queries, memory, and the selection made by random retrieval queries at positions 0 .. time - 1."""
    landmarks, keys, values = draw_memory(generator, chunks, store)
    q, asking = randn(generator, BATCH, HEADS, GROUP, time, DIM), randn(generator, BATCH, HEADS, time, DIM)
    selection = select_chunks(asking, landmarks, torch.arange(time), SIZE, top_k)
    return q, keys, values, selection


def chosen_sets(selection: Selection) -> list[set[int]]:
    """The visible chunks chosen, a set a query."""
    rows = zip(selection.chunks.flatten(0, 2).tolist(), selection.scores.flatten(0, 2).tolist(), strict=True)
    return [{c for c, s in zip(chunks, scores, strict=True) if s > -math.inf} for chunks, scores in rows]


def with_leaf_scores(selection: Selection) -> Selection:
    return Selection(selection.chunks, selection.scores.detach().clone().requires_grad_())
