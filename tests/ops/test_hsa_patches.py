"""Patches beside a shared store are a store of its own for each question, with the patches written into it."""

import math

import pytest
import torch
from hsa_cases import BATCH, DIM, GROUP, HEADS, SIZE, chosen_sets, draw_memory, fusions, randn

from lablib.ops import hsa
from lablib.ops.hsa import NOWHERE, Patches, attend_gathered, select_chunks

CHUNKS, TIME = 9, 44
# places by question: inside the store, beyond its end, and none
PLACES = {"inside": [[0, 4], [8, 3]], "beyond": [[9, 2], [1, 9]], "fewer in one": [[5, NOWHERE], [2, 7]]}
places = pytest.mark.parametrize("places", PLACES.values(), ids=PLACES.keys())


def draw_patched(generator, places):
    """A shared store, patches, and the same written out as one store a question (a chunk longer)."""
    shared, own = draw_memory(generator, CHUNKS, 1), draw_memory(generator, 2)
    written = [torch.cat([x, torch.zeros_like(x[:, :, :1])], dim=2).repeat(BATCH, *[1] * (x.ndim - 1)) for x in shared]
    for question, row in enumerate(places):
        for patch, place in enumerate(row):
            for store, mine in zip(written, own, strict=True):
                if place < NOWHERE:
                    store[question, :, place] = mine[question, :, patch]
    return shared, Patches(torch.tensor(places), *own), written


def select_both(generator, places, block=1 << 16):
    (shared, patches, written), asking = draw_patched(generator, places), randn(generator, BATCH, HEADS, TIME, DIM)
    positions = torch.arange(TIME)
    patched = select_chunks(asking, shared[0], positions, SIZE, 3, block=block, patches=patches)
    # a chunk that no question has must not be seen: the store a question is cut to what there is
    last = CHUNKS + int(any(CHUNKS in row for row in places))
    whole = select_chunks(asking, written[0][:, :, :last], positions, SIZE, 3)
    return shared, patches, written, patched, whole


@places
@pytest.mark.parametrize("block", [1, 4, 1 << 16])
def test_the_selection_is_that_from_a_store_a_question(places, block, generator):
    *_, patched, whole = select_both(generator, places, block)
    assert chosen_sets(patched) == chosen_sets(whole)
    torch.testing.assert_close(patched.scores.sort(-1).values, whole.scores.sort(-1).values)
    seen = patched.scores > -math.inf
    assert (patched.chunks.diff(dim=-1) > 0)[seen[..., 1:] & seen[..., :-1]].all(), "oldest first, none twice"


@places
@fusions
def test_the_read_is_that_from_a_store_a_question(places, fusion, generator):
    shared, patches, written, patched, whole = select_both(generator, places)
    q = randn(generator, BATCH, HEADS, GROUP, TIME, DIM)
    found = attend_gathered(q, *shared[1:], patched, fusion, patches=patches)
    torch.testing.assert_close(found, attend_gathered(q, *written[1:], whole, fusion))


def test_scores_are_made_a_bounded_number_at_a_time(generator, monkeypatch):
    shared, asking = draw_memory(generator, 40, 1), randn(generator, BATCH, HEADS, 200, DIM)
    whole = select_chunks(asking, shared[0], torch.arange(200), SIZE, 3)
    made = []
    einsum = torch.einsum
    monkeypatch.setattr(hsa.torch, "einsum", lambda *x: made.append(einsum(*x)) or made[-1])
    monkeypatch.setitem(hsa.SCORES_AT_ONCE, "cpu", 5 * BATCH * HEADS * 200)
    parts = select_chunks(asking, shared[0], torch.arange(200), SIZE, 3)
    assert max(scores.numel() for scores in made) == 5 * BATCH * HEADS * 200
    assert chosen_sets(parts) == chosen_sets(whole)
