"""HSA reads what attention would, and passes the selection exactly the gradient that it should."""

import functools
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from allocations import Allocations
from hsa_cases import (
    BATCH,
    DIM,
    GROUP,
    HEADS,
    SIZE,
    draw_case,
    draw_memory,
    fusions,
    randn,
    reads,
    reads_and_fusions,
    reads_with_concat,
    with_leaf_scores,
)

from lablib.ops import backend, hsa_by_chunk
from lablib.ops.hsa import (
    Selection,
    attend,
    attend_by_chunk,
    attend_dense,
    attend_gathered,
    by_chunk_pays,
    fusion_weights,
    select_chunks,
    visible_chunks,
)

# ---- reading


@fusions
@pytest.mark.parametrize(("time", "chunks", "top_k"), [(5, 1, 4), (20, 4, 1), (23, 5, 3), (30, 7, 7), (30, 7, 20)])
@pytest.mark.parametrize("store", [1, BATCH], ids=["one store", "a store each"])
def test_reading_the_chosen_chunks_is_reading_all_with_the_others_weighted_zero(
    fusion, time, chunks, top_k, store, generator
):
    q, keys, values, selection = draw_case(generator, time, chunks, top_k, store)
    selection = with_leaf_scores(selection)
    inputs = [x.requires_grad_() for x in (q, keys, values)]
    dense = attend_dense(*inputs, selection, fusion)
    weight = randn(generator, *dense.shape)
    leaves = [*inputs, selection.scores]
    expected = torch.autograd.grad((dense * weight).sum(), leaves, allow_unused=True)
    ways = [functools.partial(attend_gathered, block=256), functools.partial(attend_gathered, block=7)]
    for way in ways if fusion == "concat" else [*ways, attend_by_chunk]:
        read = way(*inputs, selection, fusion)
        torch.testing.assert_close(read, dense)
        found = torch.autograd.grad((read * weight).sum(), leaves, allow_unused=True)
        torch.testing.assert_close(found[:3], expected[:3])
        assert (found[3] is None) == (expected[3] is None) == (fusion == "concat")
        if fusion != "concat":
            torch.testing.assert_close(found[3], expected[3])


@reads_and_fusions
@pytest.mark.parametrize("time", [1, 3])
def test_a_memory_without_chunks_reads_zero(time, fusion, read, generator):
    q, keys, values, selection = draw_case(generator, time, 0, 4)
    assert torch.equal(read(q, keys, values, selection, fusion), torch.zeros_like(q))


@reads_and_fusions
def test_a_query_without_chunks_reads_zero_and_nothing_is_nan(fusion, read, generator):
    q, keys, values, selection = draw_case(generator, 10, 2, 2)
    inputs = [x.requires_grad_() for x in (q, keys, values)]
    selection = with_leaf_scores(selection)
    out = read(*inputs, selection, fusion)
    assert (out[:, :, :, :SIZE] == 0).all()
    assert (out[:, :, :, SIZE:] != 0).all()
    leaves = inputs if fusion == "concat" else [*inputs, selection.scores]
    found = torch.autograd.grad(out.square().sum(), leaves)
    assert all(gradient.isfinite().all() for gradient in (out, *found))
    assert (found[0][:, :, :, :SIZE] == 0).all()


@fusions
def test_the_whole_way_from_landmarks_has_no_nan_where_nothing_is_visible(fusion, generator):
    landmarks, keys, values = (x.requires_grad_() for x in draw_memory(generator, 2))
    asking = randn(generator, BATCH, HEADS, 3, DIM).requires_grad_()
    q = randn(generator, BATCH, HEADS, GROUP, 3, DIM).requires_grad_()
    selection = select_chunks(asking, landmarks, torch.arange(3), SIZE, 2)  # all before the first chunk's end
    out = attend_gathered(q, keys, values, selection, fusion)
    assert (out == 0).all()
    leaves = [q, keys, values, asking, landmarks]
    for gradient in torch.autograd.grad(out.sum(), leaves, allow_unused=True):
        assert gradient is None or (gradient == 0).all()


@reads_with_concat
def test_all_chunks_under_one_joint_softmax_are_full_attention_over_the_visible_tokens(read, generator):
    time, chunks = 30, 7
    q, keys, values, selection = draw_case(generator, time, chunks, chunks)
    out = read(q, keys, values, selection, "concat")
    visible = visible_chunks(torch.arange(time), torch.arange(chunks), SIZE).repeat_interleave(SIZE, dim=1)
    flat_keys, flat_values = (x.flatten(2, 3)[:, :, None].expand(-1, -1, GROUP, -1, -1) for x in (keys, values))
    expected = F.scaled_dot_product_attention(q, flat_keys, flat_values, attn_mask=visible)
    torch.testing.assert_close(out[:, :, :, SIZE:], expected[:, :, :, SIZE:])


@reads_with_concat
@pytest.mark.parametrize("fusion", ["softmax", "concat"])
def test_one_chosen_chunk_is_plain_attention_inside_it(fusion, read, generator):
    q, keys, values, selection = draw_case(generator, 30, 7, 1)
    out = read(q, keys, values, selection, fusion)
    for b, h, t in itertools.product(range(BATCH), range(HEADS), range(SIZE, 30)):
        chunk = int(selection.chunks[b, h, t, 0])
        inside = F.scaled_dot_product_attention(q[b, h, :, t], keys[b, h, chunk], values[b, h, chunk])
        torch.testing.assert_close(out[b, h, :, t], inside)


@reads
def test_softmax_fusion_is_the_weighted_mean_of_one_attention_a_chunk(read, generator):
    q, keys, values, selection = draw_case(generator, 30, 7, 3)
    out = read(q, keys, values, selection, "softmax")
    weights = selection.scores.softmax(-1)
    for b, h, t in itertools.product(range(BATCH), range(HEADS), (SIZE, 17, 29)):
        expected = torch.zeros(GROUP, DIM, dtype=torch.float64)
        for slot, chunk in enumerate(selection.chunks[b, h, t].tolist()):
            if selection.scores[b, h, t, slot] > -math.inf:
                inside = F.scaled_dot_product_attention(q[b, h, :, t], keys[b, h, chunk], values[b, h, chunk])
                expected += weights[b, h, t, slot] * inside
        torch.testing.assert_close(out[b, h, :, t], expected)


@reads_with_concat
@pytest.mark.parametrize("fusion", ["softmax", "concat"])
def test_the_read_has_no_positions_so_renaming_the_chunks_changes_nothing(fusion, read, generator):
    q, keys, values, selection = draw_case(generator, 30, 7, 3)
    order = torch.randperm(7, generator=generator)
    renamed = Selection(order.argsort()[selection.chunks], selection.scores)
    out = read(q, keys, values, selection, fusion)
    torch.testing.assert_close(read(q, keys[:, :, order], values[:, :, order], renamed, fusion), out)


# ---- the gradient that reaches the selection


@reads
def test_the_score_of_a_chunk_gets_its_weight_times_how_much_better_than_the_mean_it_was(read, generator):
    q, keys, values, selection = draw_case(generator, 30, 7, 4)
    selection = with_leaf_scores(selection)
    out = read(q, keys, values, selection, "softmax")
    upstream = randn(generator, *out.shape)
    (found,) = torch.autograd.grad(out, selection.scores, upstream)

    weights = fusion_weights(selection.scores.detach())
    agreement = torch.zeros_like(weights)  # <O_c, dO>, over the queries of the group
    for b, h, t, slot in itertools.product(range(BATCH), range(HEADS), range(30), range(4)):
        chunk = int(selection.chunks[b, h, t, slot])
        inside = F.scaled_dot_product_attention(q[b, h, :, t], keys[b, h, chunk], values[b, h, chunk])
        agreement[b, h, t, slot] = (inside * upstream[b, h, :, t]).sum()
    expected = weights * (agreement - (weights * agreement).sum(-1, keepdim=True))
    torch.testing.assert_close(found, expected)
    assert expected.abs().max() > 0.01


@reads_with_concat
def test_concatenated_fusion_gives_the_selection_exactly_no_gradient(read, generator):
    landmarks, keys, values = draw_memory(generator, 7)
    asking = randn(generator, BATCH, HEADS, 30, DIM)
    leaves = [landmarks.requires_grad_(), asking.requires_grad_(), values.requires_grad_()]
    selection = select_chunks(asking, landmarks, torch.arange(30), SIZE, 3)
    out = read(randn(generator, BATCH, HEADS, GROUP, 30, DIM), keys, values, selection, "concat")
    for_landmarks, for_queries, for_values = torch.autograd.grad(out.sum(), leaves, allow_unused=True)
    assert for_landmarks is None or (for_landmarks == 0).all()
    assert for_queries is None or (for_queries == 0).all()
    assert for_values.abs().max() > 0


@pytest.mark.parametrize("fusion", ["softmax", "stick-breaking"])
def test_the_other_fusions_train_queries_and_landmarks(fusion, generator):
    landmarks, keys, values = draw_memory(generator, 7)
    asking = randn(generator, BATCH, HEADS, 30, DIM)
    leaves = [landmarks.requires_grad_(), asking.requires_grad_()]
    selection = select_chunks(asking, landmarks, torch.arange(30), SIZE, 3)
    out = attend_gathered(randn(generator, BATCH, HEADS, GROUP, 30, DIM), keys, values, selection, fusion)
    for_landmarks, for_queries = torch.autograd.grad(out.square().sum(), leaves)
    assert for_landmarks.abs().max() > 0.01
    assert for_queries.abs().max() > 0.01
    assert (for_queries[:, :, :SIZE] == 0).all()


@reads_and_fusions
def test_gradients_are_those_of_finite_differences(fusion, read, generator):
    q, keys, values, selection = draw_case(generator, 9, 2, 2)
    q, keys, values = (x[:1, :1, :2].contiguous() if x is q else x[:1, :1].contiguous() for x in (q, keys, values))
    chunks, scores = selection.chunks[:1, :1], selection.scores[:1, :1].detach()
    hidden = scores == -math.inf

    def call(q, keys, values, free):
        return read(q, keys, values, Selection(chunks, free.masked_fill(hidden, -math.inf)), fusion)

    free = scores.masked_fill(hidden, 0.0)
    inputs = [x.detach().requires_grad_() for x in (q, keys, values)]
    assert torch.autograd.gradcheck(call, (*inputs, free.requires_grad_(fusion != "concat")))


# ---- habits


@reads_and_fusions
def test_inputs_are_unchanged(fusion, read, generator):
    q, keys, values, selection = draw_case(generator, 20, 5, 2)
    inputs = (q, keys, values, *selection)
    before = [x.clone() for x in inputs]
    read(q, keys, values, selection, fusion)
    fusion_weights(selection.scores, "softmax")
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))


@reads_and_fusions
def test_the_future_changes_no_bit_of_what_was_read(fusion, read, generator):
    time, chunks, cut = 30, 7, 17
    landmarks, keys, values = (x.float() for x in draw_memory(generator, chunks))
    asking, q = (randn(generator, *shape).float() for shape in ((2, 2, time, DIM), (2, 2, GROUP, time, DIM)))

    def out(landmarks, keys, values):
        return read(q, keys, values, select_chunks(asking, landmarks, torch.arange(time), SIZE, 3), fusion)

    before = out(landmarks, keys, values)
    changed = [x.clone() for x in (landmarks, keys, values)]
    for x in changed:
        x[:, :, cut // SIZE :] = 100 * torch.randn(x[:, :, cut // SIZE :].shape, generator=generator)
    after = out(*changed)
    assert torch.equal(before[:, :, :, : cut + 1], after[:, :, :, : cut + 1])
    assert not torch.equal(before[:, :, :, cut + 1 :], after[:, :, :, cut + 1 :])


@reads_and_fusions
def test_an_empty_slot_may_name_a_chunk_that_another_has_chosen(generator, read, fusion):
    """As the selection by a kernel does, whose empty slots all name the first chunk."""
    q, keys, values, selection = draw_case(generator, time=13, chunks=3, top_k=3)
    empty = selection.scores == -math.inf
    renamed = selection._replace(chunks=selection.chunks.masked_fill(empty, 0))
    assert empty.any()
    torch.testing.assert_close(read(q, keys, values, renamed, fusion), read(q, keys, values, selection, fusion))


# ---- chunk by chunk


def large_case(generator, time: int, *, chunk: int = 32, dim: int = 16, top_k: int = 4, dtype=torch.float32):
    """One head group of two, by random landmarks, as large as is read chunk by chunk."""
    shapes = {"asking": (1, 1, time, dim), "landmarks": (1, 1, time // chunk, dim), "q": (1, 1, 2, time, dim)}
    asking, landmarks, q = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes.values())
    k, v = (torch.randn(1, 1, time // chunk, chunk, dim, generator=generator, dtype=dtype) for _ in range(2))
    return q, k, v, select_chunks(asking, landmarks, torch.arange(time), chunk, top_k)


def test_large_chunks_with_many_readers_are_read_chunk_by_chunk(generator, monkeypatch):
    q, k, v, selection = large_case(generator, 5000, chunk=64, dim=32)
    assert by_chunk_pays(q, k, selection)
    assert torch.equal(attend(q, k, v, selection), attend_by_chunk(q, k, v, selection))
    with backend.using("plain"):  # which has a second derivative
        assert not by_chunk_pays(q, k, selection)
    small = draw_case(generator, 30, 7, 3)
    assert not by_chunk_pays(small[0], small[1], small[3])


def test_a_chunk_that_is_chosen_twice_counts_twice(generator):
    q, keys, values, selection = draw_case(generator, 30, 7, 3)
    twice = selection._replace(chunks=selection.chunks.clone())
    twice.chunks[..., 1] = twice.chunks[..., 0]
    torch.testing.assert_close(attend_by_chunk(q, keys, values, twice), attend_gathered(q, keys, values, twice))


def test_memory_grows_with_tokens_and_chosen_chunks_not_with_the_chunks_size(generator, monkeypatch):
    monkeypatch.setattr(hsa_by_chunk, "READERS_AT_ONCE", 64)

    def peak(time, chunk, top_k):
        q, k, v, selection = large_case(generator, time, chunk=chunk, top_k=top_k)
        leaves = [x.requires_grad_() for x in (q, k, v)]
        with Allocations(*leaves, *selection) as seen:
            attend_by_chunk(*leaves, selection).sum().backward()
        assert seen.largest <= max(time * top_k, q.numel(), 64 * 2 * chunk)
        return seen.peak

    once = peak(2048, 32, 4)
    assert peak(4096, 32, 4) < 2.2 * once
    assert peak(2048, 64, 4) < 1.5 * once


def test_what_is_read_chunk_by_chunk_cannot_be_differentiated_twice(generator):
    q, keys, values, selection = draw_case(generator, 20, 5, 2)
    q.requires_grad_()
    (first,) = torch.autograd.grad(attend_by_chunk(q, keys, values, selection).square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend 'plain'"):
        torch.autograd.grad(first.sum(), q)


def test_one_softmax_over_all_chunks_is_not_read_chunk_by_chunk(generator):
    with pytest.raises(ValueError, match="'concat' has one softmax over all chunks"):
        attend_by_chunk(*draw_case(generator, 20, 5, 2), "concat")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bits_are_read_as_precisely_as_their_inputs(dtype, generator):
    q, k, v, selection = large_case(generator, 256)
    rounded = [x.to(dtype) for x in (q, k, v)]
    found = attend_by_chunk(*rounded, selection)
    assert found.dtype == dtype
    exact = attend_dense(*(x.double() for x in rounded), Selection(selection.chunks, selection.scores.double()))
    torch.testing.assert_close(found.double(), exact, atol=2 * torch.finfo(dtype).eps, rtol=2 * torch.finfo(dtype).eps)
