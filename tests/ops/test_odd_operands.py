"""No token, no sequence, one token: an empty or the plain result; shapes that do not fit are refused."""

import pytest
import torch

from lablib.ops.attention import full_attention, sliding_window_attention
from lablib.ops.delta import delta_chunked, delta_recurrence
from lablib.ops.hsa import Patches, attend_dense, attend_gathered, select_chunks
from lablib.ops.rope import rotary
from lablib.ops.ssd import ssd_chunked, ssd_recurrence

SIZES = [(0, 5), (2, 0), (0, 0), (2, 1)]  # batch and time
RECURRENCES = (ssd_recurrence, ssd_chunked, delta_recurrence, delta_chunked)


def ones(*shape: int) -> torch.Tensor:
    return torch.ones(*shape)


@pytest.mark.parametrize(("batch", "time"), SIZES)
@pytest.mark.parametrize("run", RECURRENCES, ids=lambda run: run.__name__)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_recurrence_over_nothing_writes_nothing_and_leaves_its_state(run, batch, time, dtype):
    q, v, gate = (ones(batch, 2, time, *size).to(dtype) for size in ((3,), (5,), ()))
    gates = [gate, -gate] if "delta" in run.__name__ else [-gate]
    shape = (batch, 2, 3, 5) if "delta" in run.__name__ else (batch, 2, 5, 3)
    state = torch.full(shape, 2.0, dtype=dtype)
    out, after = run(q, q, v, *gates, state)
    assert out.shape == v.shape
    assert out.dtype == after.dtype == dtype
    assert after.shape == shape
    if not time:
        assert torch.equal(after, state)


@pytest.mark.parametrize(("batch", "time"), SIZES)
@pytest.mark.parametrize("window", [1, 3, 99])
def test_attention_over_nothing_is_nothing(batch, time, window):
    q, k = ones(batch, 4, time, 6), ones(batch, 2, time, 6)
    for theta in (None, 100.0):
        assert full_attention(q, k, k, theta=theta).shape == q.shape
        assert sliding_window_attention(q, k, k, window, theta=theta).shape == q.shape


@pytest.mark.parametrize(("batch", "time"), SIZES)
@pytest.mark.parametrize("chunks", [0, 1, 3])
@pytest.mark.parametrize("top_k", [1, 99])
def test_a_read_of_chosen_chunks_may_have_no_query_and_fewer_chunks_than_wanted(batch, time, chunks, top_k):
    store = ones(batch, 2, chunks, 4, 6)
    found = select_chunks(ones(batch, 2, time, 6), ones(batch, 2, chunks, 6), torch.arange(time), 4, top_k)
    assert found.chunks.shape == (batch, 2, time, min(top_k, chunks))
    for read in (attend_dense, attend_gathered):
        out = read(ones(batch, 2, 3, time, 6), store, store, found)
        assert out.shape == (batch, 2, 3, time, 6)
        assert not out.any(), "the first tokens see no complete chunk"


@pytest.mark.parametrize(("time", "dim"), [(0, 4), (3, 0), (1, 2)])
def test_a_rotation_of_nothing_is_nothing(time, dim):
    assert rotary(ones(2, time, dim), torch.arange(time)).shape == (2, time, dim)


def choose(positions: torch.Tensor, size: int = 2, top_k: int = 1, patches: Patches | None = None) -> None:
    select_chunks(ones(1, 1, 5, 2), ones(1, 1, 2, 2), positions, size, top_k, patches=patches)


REFUSED = {
    "an odd dim": (
        lambda: rotary(ones(1, 4, 3), torch.arange(4)),
        r"x is \(1, 4, 3\) at 4 positions; expected",
    ),
    "one position for many tokens": (lambda: rotary(ones(1, 4, 2), torch.arange(1)), "at 1 positions"),
    "positions for other tokens": (lambda: rotary(ones(1, 4, 2), torch.arange(5)), "at 5 positions"),
    "a chunk of no token": (lambda: ssd_chunked(*(ones(1, 1, 4, 2),) * 3, ones(1, 1, 4), chunk=0), "at least 1 token"),
    "fewer keys than queries": (
        lambda: full_attention(ones(1, 2, 4, 2), ones(1, 2, 3, 2), ones(1, 2, 3, 2)),
        "and at least as many keys as queries",
    ),
    "fewer keys than queries of a window": (
        lambda: sliding_window_attention(ones(1, 2, 9, 2), ones(1, 2, 8, 2), ones(1, 2, 8, 2), 3),
        "and at least as many keys as queries",
    ),
    "heads that share no keys": (
        lambda: full_attention(ones(1, 3, 4, 2), ones(1, 2, 4, 2), ones(1, 2, 4, 2)),
        "expected heads that divide q's",
    ),
    "one position for all queries": (lambda: choose(torch.arange(1)), "1 positions and 1 questions for queries"),
    "no chunk to choose": (lambda: choose(torch.arange(5), top_k=0), "top_k is 0; expected at least 1"),
    "chunks of no token": (lambda: choose(torch.arange(5), size=0), "size is 0; expected at least 1"),
    "patches of other questions": (
        lambda: choose(torch.arange(5), patches=Patches(torch.zeros(2, 1).long(), *(ones(2, 1, 1, 2, 2),) * 3)),
        "5 positions and 2 questions for queries",
    ),
    "a window of no token": (lambda: sliding_window_attention(*(ones(1, 1, 4, 2),) * 3, 0), "window is 0"),
}


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_operands_that_do_not_fit_are_refused(call, said, refused):
    with refused(ValueError, said):
        call()
