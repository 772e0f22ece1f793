"""Hierarchical sparse attention by Triton against its definition, in both orders; the inverse index; the selection."""

import math

import pytest
import torch
from conftest import with_margins
from definitions import FARTHEST, chosen_attention, errors, pairwise

from labkernels.hsa import launch, select
from labkernels.hsa.inverse import inverse_index
from labkernels.hsa.op import better_order, hierarchical_attention
from labkernels.hsa.select import select_chunks
from labkernels.runtime import Tiles

FACTORS = {
    "batch": (1, 2),
    "kv_heads": (1, 2),
    "group": (1, 3, 17),  # 17: more rows than the smallest tile
    "time": (34, 48),
    "dim": (16, 32),
    "size": (16, 32),
    "slots": (1, 3),
    "dtype": (torch.float32, torch.float16),
}
# batch, kv_heads, group, time, dim, size of a chunk, slots, type
CASES = {
    "a chunk and a bit": (1, 1, 1, 21, 16, 16, 1, torch.float32),
    "more slots than chunks": (1, 1, 2, 37, 16, 16, 4, torch.float32),
    "double": (1, 1, 1, 33, 16, 16, 2, torch.float64),
} | {f"pairs {i}": tuple(case.values()) for i, case in enumerate(pairwise(FACTORS))}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
orders = pytest.mark.parametrize("order", ["queries", "chunks"])


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    for name in ("CHUNK_MAJOR", "FOR_DKV"):
        monkeypatch.setattr(launch, name, Tiles(16, 16))
    monkeypatch.setattr(select, "TILES", Tiles(16, 16))


def draw(batch, heads, group, time, dim, size, slots, dtype):
    """Queries, keys, values, weights, and chunks of the past at random (some twice), -1 where there are none."""
    generator = torch.Generator().manual_seed(time)
    full = time // size
    shapes = ((batch, heads, group, time, dim), *2 * ((batch, heads, full, size, dim),))
    q, k, v = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    known = torch.arange(time)[:, None] // size  # complete chunks before each token
    chunks = (torch.rand(batch, heads, time, slots, generator=generator) * (known + 1)).long() - 1
    kept = torch.float64 if dtype == torch.float64 else torch.float32
    weights = torch.rand(chunks.shape, generator=generator, dtype=torch.float64).to(kept)
    return [with_margins(x) for x in (q, k, v, weights)], with_margins(chunks)


@cases
@orders
def test_output_and_gradients_are_those_of_the_definition(case, order):
    inputs, chunks = draw(*case)
    found = errors(
        lambda q, k, v, w: hierarchical_attention(q, k, v, chunks, w, order=order),
        lambda q, k, v, w: chosen_attention(q, k, v, chunks, w),
        inputs,
    )
    assert max(found) < FARTHEST[case[-1]]


@orders
def test_chunks_of_which_none_is_chosen_read_and_get_nothing(order):
    (q, k, v, weights), chunks = draw(1, 1, 2, 20, 16, 16, 2, torch.float32)
    nobody = torch.full_like(chunks, -1)
    inputs = [x.requires_grad_() for x in (q, k, v, weights)]
    out = hierarchical_attention(*inputs[:3], nobody, weights, order=order)
    gradients = torch.autograd.grad(out.sum(), inputs)
    assert not out.any()
    assert not any(gradient.any() for gradient in gradients)


@orders
def test_strides_are_followed(order):
    (q, k, v, weights), chunks = draw(2, 2, 2, 34, 16, 16, 2, torch.float32)
    # (batch, time, kv_head, group, dim) in memory, and (batch, chunk, size, kv_head, dim)
    q = with_margins(q.permute(0, 3, 1, 2, 4)).permute(0, 2, 3, 1, 4)
    k, v = (with_margins(x.permute(0, 2, 3, 1, 4)).permute(0, 3, 1, 2, 4) for x in (k, v))
    assert not q.is_contiguous()
    found = errors(
        lambda q, k, v, w: hierarchical_attention(q, k, v, chunks.mT.contiguous().mT, w, order=order),
        lambda q, k, v, w: chosen_attention(q, k, v, chunks, w),
        (q, k, v, weights),
    )
    assert max(found) < FARTHEST[torch.float32]


@orders
def test_gradcheck_in_double_precision(order):
    inputs, chunks = draw(1, 1, 2, 34, 16, 16, 2, torch.float64)
    inputs = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(
        lambda q, k, v, w: hierarchical_attention(q, k, v, chunks, w, order=order), inputs, fast_mode=True
    )


def test_a_second_derivative_raises_instead_of_going_missing():
    (q, k, v, weights), chunks = draw(1, 1, 1, 18, 16, 16, 1, torch.float32)
    weights.requires_grad_()
    out = hierarchical_attention(q, k, v, chunks, weights)
    (first,) = torch.autograd.grad(out.square().sum(), weights, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend 'plain'"):
        torch.autograd.grad(first.sum(), weights)


def test_the_inverse_lists_the_readers_of_each_chunk_in_the_order_of_the_text():
    _, chunks = draw(2, 2, 1, 40, 16, 8, 3, torch.float32)
    entries, offsets = inverse_index(chunks, 5)
    assert offsets.shape == (2 * 2 * 5 + 1,)
    flat = chunks.flatten(0, 1).flatten(1)
    for head in range(4):
        for chunk in range(5):
            first, last = offsets[head * 5 + chunk : head * 5 + chunk + 2].tolist()
            assert entries[first:last].tolist() == (flat[head] == chunk).nonzero().flatten().tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    ("rows", "time", "size", "top_k"),  # batch and heads; the interpreter takes seconds for many landmarks of many rows
    [((2, 2), 1, 4, 2), ((2, 2), 15, 4, 1), ((2, 1), 50, 2, 5), ((2, 2), 64, 16, 8), ((1, 2), 33, 1, 16)],
)
def test_the_selection_is_the_best_of_the_past(rows, time, size, top_k, dtype):
    generator = torch.Generator().manual_seed(time)
    queries = torch.randn(*rows, time, 16, generator=generator).to(dtype)
    landmarks = torch.randn(*rows, max(1, time // size), 16, generator=generator).to(dtype)
    chosen = select_chunks(with_margins(queries), with_margins(landmarks), size, top_k)
    scores = queries.double() @ landmarks.double().mT
    past = torch.arange(time)[:, None] >= (torch.arange(landmarks.shape[2]) + 1) * size
    scores = scores.masked_fill(~past, -math.inf)
    best = scores.topk(min(top_k, scores.shape[-1])).values.sort(-1).values
    found = torch.where(chosen < 0, -math.inf, scores.gather(-1, chosen.clamp_min(0).long())).sort(-1).values
    torch.testing.assert_close(found[..., top_k - best.shape[-1] :], best, atol=1e-3, rtol=1e-3)
    assert (found[..., : top_k - best.shape[-1]] == -math.inf).all()
    ordered = torch.where(chosen < 0, 1 << 30, chosen)
    assert (ordered.diff(dim=-1) >= (ordered[..., 1:] < 1 << 30).int()).all()  # oldest first, none twice


def test_equal_scores_go_to_the_older_chunk():
    queries, landmarks = torch.ones(1, 1, 40, 16), torch.ones(1, 1, 10, 16)
    assert select_chunks(queries, landmarks, 4, 2)[0, 0, 39].tolist() == [0, 1]


@pytest.mark.parametrize("places", [torch.zeros(39), torch.zeros(40)], ids=["too few", "of floats"])
def test_positions_that_do_not_fit_are_refused(places):
    queries, landmarks = torch.ones(1, 1, 40, 16), torch.ones(1, 1, 10, 16)
    with pytest.raises(ValueError, match=r"positions are torch.float32 .*expected integers \(40,\)"):
        select_chunks(queries, landmarks, 4, 2, places)


def test_positions_may_be_any_integers_in_any_strides():
    queries, landmarks = torch.ones(1, 1, 3, 16), torch.ones(1, 1, 10, 16)
    places = torch.tensor([3, -1, 9, -1, 40, -1], dtype=torch.int32)[::2]
    assert select_chunks(queries, landmarks, 4, 2, places)[0, 0].tolist() == [[-1, -1], [0, 1], [0, 1]]


def test_the_order_follows_the_size_of_the_group():
    assert better_order(1) == better_order(15) == "chunks"
    assert better_order(16) == "queries"
