"""HSA chooses as brute force does, only what is complete, and weighs the chosen as its definitions say."""

import itertools
import math

import pytest
import torch
from hsa_cases import BATCH, DIM, HEADS, SIZE, chosen_sets, draw_memory, randn

from lablib.ops import hsa
from lablib.ops.hsa import fusion_weights, select_chunks, visible_chunks

# ---- which chunks may be read


@pytest.mark.parametrize("size", [1, 4, 8])
def test_a_chunk_is_visible_from_the_position_after_its_last_token(size):
    seen = visible_chunks(torch.arange(40), torch.arange(5), size)
    for t, c in itertools.product(range(40), range(5)):
        assert bool(seen[t, c]) == (t > (c + 1) * size - 1)


# ---- selection


@pytest.mark.parametrize("chunks", [1, 3, 9])
@pytest.mark.parametrize("top_k", [1, 2, 4, 20])
@pytest.mark.parametrize("store", [1, BATCH], ids=["one store", "a store each"])
def test_selection_is_brute_force(chunks, top_k, store, generator):
    landmarks, queries = draw_memory(generator, chunks, store)[0], randn(generator, BATCH, HEADS, 38, DIM)
    selection = select_chunks(queries, landmarks, torch.arange(38), SIZE, top_k)
    assert selection.chunks.shape == (BATCH, HEADS, 38, min(top_k, chunks))
    for b, h, t in itertools.product(range(BATCH), range(HEADS), range(38)):
        score = {
            c: float(queries[b, h, t] @ landmarks[b % store, h, c]) / math.sqrt(DIM)
            for c in range(chunks)
            if t >= (c + 1) * SIZE
        }
        best = sorted(sorted(score, key=score.get)[-top_k:])
        slots = zip(selection.chunks[b, h, t].tolist(), selection.scores[b, h, t].tolist(), strict=True)
        found = [(c, s) for c, s in slots if s > -math.inf]
        assert [c for c, _ in found] == best  # oldest first
        assert [s for _, s in found] == pytest.approx([score[c] for c in best])


@pytest.mark.parametrize("block", [1, 4, 64])
@pytest.mark.parametrize("at_once", [1, 64, 1 << 19])
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_of_equal_scores_the_older_chunks_are_chosen(levels, at_once, block, generator, monkeypatch):
    """In whatever pieces landmarks and queries are scored; as the kernel does (`kernels/hsa/select.py`)."""
    monkeypatch.setitem(hsa.SCORES_AT_ONCE, "cpu", at_once)
    monkeypatch.setattr(hsa, "LANDMARKS_AT_ONCE", 1)
    landmarks, positions = torch.randint(levels, (2, 1, 23, 1), generator=generator).double(), torch.arange(0, 100, 3)
    asking = torch.ones(2, 1, len(positions), 1).double()
    found = select_chunks(asking, landmarks, positions, SIZE, 4, block=block)
    for b, t in itertools.product(range(2), range(len(positions))):
        complete = range(min(23, int(positions[t]) // SIZE))
        best = sorted(complete, key=lambda c: (-float(landmarks[b, 0, c, 0]), c))[:4]
        assert found.chunks[b, 0, t][found.scores[b, 0, t] > -math.inf].tolist() == sorted(best)


@pytest.mark.parametrize("block", [1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("store", [1, BATCH], ids=["one store", "a store each"])
def test_selection_does_not_depend_on_how_many_landmarks_are_scored_at_a_time(block, store, generator):
    landmarks, queries = draw_memory(generator, 9, store)[0], randn(generator, BATCH, HEADS, 40, DIM)
    whole = select_chunks(queries, landmarks, torch.arange(40), SIZE, 4)
    parts = select_chunks(queries, landmarks, torch.arange(40), SIZE, 4, block=block)
    assert chosen_sets(parts) == chosen_sets(whole)
    torch.testing.assert_close(parts.scores.sort(-1).values, whole.scores.sort(-1).values)


def test_one_store_for_all_queries_is_the_store_repeated(generator):
    landmarks, queries = draw_memory(generator, 9, 1)[0], randn(generator, BATCH, HEADS, 40, DIM)
    shared = select_chunks(queries, landmarks, torch.arange(40), SIZE, 3)
    repeated = select_chunks(queries, landmarks.repeat(BATCH, 1, 1, 1), torch.arange(40), SIZE, 3)
    assert chosen_sets(shared) == chosen_sets(repeated)
    torch.testing.assert_close(shared.scores, repeated.scores)


def test_a_query_that_sees_no_chunk_chooses_none(generator):
    landmarks, queries = draw_memory(generator, 9)[0], randn(generator, BATCH, HEADS, SIZE, DIM)
    selection = select_chunks(queries, landmarks, torch.arange(SIZE), SIZE, 3)
    assert (selection.scores == -math.inf).all()


def test_a_memory_without_chunks_gives_no_slots(generator):
    landmarks, queries = draw_memory(generator, 0)[0], randn(generator, BATCH, HEADS, 3, DIM)
    selection = select_chunks(queries, landmarks, torch.arange(3), SIZE, 4)
    assert selection.chunks.shape == selection.scores.shape == (BATCH, HEADS, 3, 0)


def test_positions_far_from_the_start_of_a_batch_see_what_they_should(generator):
    landmarks, queries = draw_memory(generator, 9)[0], randn(generator, BATCH, HEADS, 40, DIM)
    whole = select_chunks(queries, landmarks, torch.arange(40), SIZE, 3)
    tail = select_chunks(queries[:, :, 30:], landmarks, torch.arange(30, 40), SIZE, 3)
    assert torch.equal(tail.chunks, whole.chunks[:, :, 30:])


# ---- fusion weights


@pytest.mark.parametrize("fusion", ["softmax", "stick-breaking"])
def test_weights_are_zero_where_nothing_was_found(fusion):
    scores = torch.tensor([[-math.inf, -math.inf], [-math.inf, 0.3]], dtype=torch.float64)
    weights = fusion_weights(scores, fusion)
    assert weights[0].tolist() == [0, 0]
    assert weights[1, 0] == 0
    assert weights[1, 1] > 0


def test_softmax_weights_are_the_softmax_of_the_visible_scores(generator):
    scores = randn(generator, 50, 4)
    scores[:25, :2] = -math.inf
    weights = fusion_weights(scores, "softmax")
    torch.testing.assert_close(weights.sum(-1), torch.ones(50, dtype=torch.float64))
    torch.testing.assert_close(weights[:25, 2:], scores[:25, 2:].softmax(-1))
    torch.testing.assert_close(weights[25:], scores[25:].softmax(-1))


def test_stick_breaking_takes_a_share_of_what_newer_chunks_left(generator):
    scores = 3 * randn(generator, 50, 5)
    scores[:25, 1] = -math.inf
    expected = torch.zeros_like(scores)
    for row in range(50):
        left = 1.0
        for slot in reversed(range(5)):  # newest first
            share = 1 / (1 + math.exp(-scores[row, slot])) if scores[row, slot] > -math.inf else 0.0
            expected[row, slot] = left * share
            left *= 1 - share
    weights = fusion_weights(scores, "stick-breaking")
    torch.testing.assert_close(weights, expected)
    assert (weights.sum(-1) <= 1).all()


def test_stick_breaking_prefers_the_more_recent_of_equal_chunks_and_softmax_does_not():
    scores = torch.full((1, 5), 0.7, dtype=torch.float64)
    assert (fusion_weights(scores, "stick-breaking").diff(dim=-1) > 0).all()
    assert (fusion_weights(scores, "softmax").diff(dim=-1) == 0).all()
