"""Reading a very long input in segments equals the plain forward pass, and costs no more memory than its store."""

import re

import pytest
import torch
from allocations import Allocations
from torch import Generator

from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.streaming import edited, encode, read

DEEP = "swa swa memory swa+hsa swa swa+hsa"


def make_model(plan: str = "swa memory swa+hsa", **changes) -> LanguageModel:
    cfg = ModelConfig(**{"plan": plan, "vocab": 20, "width": 16, "window": 5, "chunk": 8, "top_k": 2, **changes})
    return LanguageModel(cfg, Generator().manual_seed(0)).eval()


def draw_tokens(generator, *shape):
    return torch.randint(20, shape, generator=generator)


def assert_streaming_is_plain(model, tokens, tails, segment, keep=None):
    with torch.no_grad():
        streamed = read(model, encode(model, tokens, segment=segment), tails, keep)
        plain = model(torch.cat([tokens.expand(tails.shape[0], -1), tails], dim=1))
    kept = tails.shape[1] if keep is None else keep
    assert streamed.shape[1] == kept
    torch.testing.assert_close(streamed, plain[:, -kept:], atol=1e-5, rtol=0)


@pytest.mark.parametrize("plan", ["swa", "swa swa", "memory hsa", "swa memory hsa", "swa memory swa+hsa", DEEP])
@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 63, 64, 65, 200])
def test_streaming_is_the_plain_forward_at_every_length(plan, length, generator):
    assert_streaming_is_plain(make_model(plan), draw_tokens(generator, 1, length), draw_tokens(generator, 1, 5), 32)


@pytest.mark.parametrize("segment", [1, 8, 13, 64, 10_000])
@pytest.mark.parametrize("window", [1, 3, 8, 17, 40])
def test_it_does_not_depend_on_the_segments_whatever_the_window(segment, window, generator):
    model = make_model(DEEP, window=window)
    assert_streaming_is_plain(model, draw_tokens(generator, 1, 150), draw_tokens(generator, 1, 4), segment)


@pytest.mark.parametrize("chunk", [1, 2, 5, 16])
@pytest.mark.parametrize("top_k", [1, 3, 99])
def test_it_holds_for_every_chunk_size_and_top_k(chunk, top_k, generator):
    model = make_model(chunk=chunk, top_k=top_k)
    assert_streaming_is_plain(model, draw_tokens(generator, 1, 90), draw_tokens(generator, 1, 4), 24)


@pytest.mark.parametrize("tail", [1, 2, 7, 8, 9, 17, 40])
@pytest.mark.parametrize("length", [61, 64, 67])
def test_tails_may_complete_chunks_of_their_own(tail, length, generator):
    model = make_model(DEEP)
    assert_streaming_is_plain(model, draw_tokens(generator, 1, length), draw_tokens(generator, 3, tail), 32)


OPTIONS = {
    "RoPE on the read": {"hsa_rope": True},
    "stick-breaking": {"fusion": "stick-breaking"},
    "concat": {"fusion": "concat"},
    "mean landmark": {"landmark": "mean"},
    "no bypass": {"bypass": False},
    "two retrieval heads": {"num_kv_heads": 2},
    "ordinary start": {"retrieval_init": "ordinary"},
}


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS.keys())
def test_it_holds_for_every_option(changes, generator):
    assert_streaming_is_plain(
        make_model(DEEP, **changes), draw_tokens(generator, 1, 100), draw_tokens(generator, 2, 11), 32
    )


def test_many_tails_share_one_store_and_do_not_see_each_other(generator):
    model, tokens, tails = make_model(), draw_tokens(generator, 1, 100), draw_tokens(generator, 6, 7)
    stream = encode(model, tokens)
    together = read(model, stream, tails)
    for i in range(6):
        torch.testing.assert_close(read(model, stream, tails[i : i + 1]), together[i : i + 1], atol=1e-5, rtol=0)
    assert_streaming_is_plain(model, tokens, tails, 32)


@pytest.mark.parametrize("plan", ["swa swa", "swa memory swa+hsa", DEEP])
@pytest.mark.parametrize("keep", [1, 3, 9])
def test_only_the_last_logits_are_made_when_only_they_are_wanted(plan, keep, generator):
    assert_streaming_is_plain(
        make_model(plan), draw_tokens(generator, 1, 77), draw_tokens(generator, 2, 9), 32, keep=keep
    )


def test_reading_leaves_the_stream_as_it_was(generator):
    model, tokens = make_model(), draw_tokens(generator, 1, 70)
    stream = encode(model, tokens)
    before = [x.clone() for x in (*stream.memory, stream.recent)]
    first = read(model, stream, draw_tokens(generator, 2, 12))
    assert all(torch.equal(x, y) for x, y in zip((*stream.memory, stream.recent), before, strict=True))
    assert not first.requires_grad


# ---- edits


EDITS = {
    "inside a chunk": [[17]],
    "over a boundary": [[22]],
    "at the beginning": [[0]],
    "in the open chunk": [[97]],
    "at the very end": [[96]],
    "at the last complete chunk": [[93]],
    "several": [[10], [40], [75]],
    "neighbours": [[24], [28], [32]],
    "overlapping": [[24], [26]],
    "out of order": [[75], [10]],
}


def with_edits(tokens, starts, edits):
    planted = tokens.clone()
    for start, edit in zip(starts.tolist(), edits, strict=True):
        planted[0, start : start + len(edit)] = edit
    return planted


@pytest.mark.parametrize("plan", ["swa swa", "memory hsa", "swa memory swa+hsa", DEEP])
@pytest.mark.parametrize("starts", EDITS.values(), ids=EDITS.keys())
def test_an_edited_stream_is_the_edited_tokens_read_afresh(plan, starts, generator):
    model, tokens = make_model(plan), draw_tokens(generator, 1, 101)
    starts = torch.tensor(starts)[:, 0]
    edits, tails = draw_tokens(generator, len(starts), 4), draw_tokens(generator, 1, 3)
    stream, fresh = encode(model, tokens, segment=32), encode(model, with_edits(tokens, starts, edits), segment=32)
    with edited(model, stream, tokens, starts, edits) as now:
        assert torch.equal(now.recent, fresh.recent)
        assert now.length == 101
        for one, two in zip(now.memory or (), fresh.memory or (), strict=True):
            torch.testing.assert_close(one, two, atol=1e-6, rtol=0)
        torch.testing.assert_close(read(model, now, tails), read(model, fresh, tails), atol=1e-5, rtol=0)


class Stop(Exception):
    """Raised in the middle of a block."""


@pytest.mark.parametrize("raises", [False, True], ids=["after the block", "when the block raises"])
@pytest.mark.parametrize("starts", EDITS.values(), ids=EDITS.keys())
def test_the_stream_is_put_back_bitwise(starts, raises, generator):
    model, tokens = make_model(DEEP), draw_tokens(generator, 1, 101)
    starts = torch.tensor(starts)[:, 0]
    stream = encode(model, tokens)
    before = [x.clone() for x in (*stream.memory, stream.recent, tokens)]
    touched = False
    try:
        with edited(model, stream, tokens, starts, (tokens[0, starts][:, None] + 3) % 20):
            touched = any(not torch.equal(x, y) for x, y in zip(stream.memory, before, strict=False))
            if raises:
                raise Stop
    except Stop:
        pass
    assert touched == bool((starts < 96).any())
    assert all(torch.equal(x, y) for x, y in zip((*stream.memory, stream.recent, tokens), before, strict=True))


# ---- memory


def test_the_store_grows_linearly_with_the_input(generator):
    model = make_model(num_kv_heads=2)
    sizes = {n: encode(model, draw_tokens(generator, 1, n)).num_bytes for n in (0, 7, 8, 64, 67, 640, 6400)}
    a_chunk = sizes[8]
    assert a_chunk == 4 * (16 + 2 * 8 * 2 * 8)  # a landmark, and keys and values of eight tokens in two heads of eight
    assert {n: size / a_chunk for n, size in sizes.items()} == {0: 0, 7: 0, 8: 1, 64: 8, 67: 8, 640: 80, 6400: 800}


def test_a_plan_without_memory_keeps_only_its_reach(generator):
    model = make_model("swa swa", window=5)
    stream = encode(model, draw_tokens(generator, 1, 5000))
    assert stream.num_bytes == 0
    assert stream.recent.shape == (1, 8)


def test_beyond_the_store_memory_depends_on_the_segment_and_not_on_the_length(generator):
    model = make_model(DEEP)
    extra, largest = {}, {}
    for length, segment in ((2048, 256), (8192, 256), (8192, 1024)):
        tokens = draw_tokens(generator, 1, length)
        with Allocations(tokens, *model.parameters()) as seen:
            stream = encode(model, tokens, segment=segment)
        store = stream.num_bytes
        extra[length, segment], largest[length, segment] = seen.peak - store, seen.largest
    assert extra[8192, 256] < 1.05 * extra[2048, 256]
    assert extra[8192, 1024] > 2 * extra[8192, 256]
    assert extra[8192, 256] < store


def test_a_question_makes_no_matrix_of_time_by_chunks(generator):
    model = make_model(DEEP)
    for length in (2048, 8192):
        stream = encode(model, draw_tokens(generator, 1, length))
        tails = draw_tokens(generator, 1, 3)
        with Allocations(*stream.memory, *model.parameters()) as seen:
            read(model, stream, tails, keep=1)
        tail_and_reach = 3 + 8 + model.reach + 1
        assert seen.largest <= tail_and_reach * max(length // 8, 200)


# ---- what is refused


@pytest.mark.parametrize("plan", ["full", "full-nope full-nope", "full memory hsa", "swa memory full swa+hsa"])
def test_full_attention_is_not_streamed(plan, generator):
    refusal = re.escape(f"plan '{plan}' has full attention, which cannot be streamed") + r".*use model\(tokens\)"
    with pytest.raises(ValueError, match=refusal):
        encode(make_model(plan), draw_tokens(generator, 1, 20))


def test_one_input_is_read_at_a_time(generator, refused):
    with refused(ValueError, "encode reads one input at a time; got 3 rows"):
        encode(make_model(), draw_tokens(generator, 3, 20))
