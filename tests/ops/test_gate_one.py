"""Gate 1 of the kernels: the torch versions are the definition, and have its first and second derivatives."""

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from lablib.ops import backend
from lablib.ops.attention import attention_reference, full_attention, sliding_window_attention, window_mask
from lablib.ops.hsa import Selection, attend_by_chunk, attend_dense, attend_gathered


def randn(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("time", "window", "block"), [(9, 4, 3), (7, 1, 4), (6, 9, None)])
def test_the_banded_window_twice(time, window, block, generator):
    q, k, v = randn(generator, 1, 2, time, 2), randn(generator, 1, 1, time, 2), randn(generator, 1, 1, time, 2)

    def banded(q, k, v):
        with sdpa_kernel(SDPBackend.MATH):  # the fused operation has no second derivative
            return sliding_window_attention(q, k, v, window, block=block)

    torch.testing.assert_close(banded(q, k, v), attention_reference(q, k, v, window_mask(time, window)))
    assert torch.autograd.gradcheck(banded, (q, k, v), fast_mode=True)
    assert torch.autograd.gradgradcheck(banded, (q, k, v), fast_mode=True)


def test_the_window_behind_a_cache_twice(generator):
    """The operation that models with an inner loop use."""
    q, k, v = randn(generator, 1, 1, 3, 2), randn(generator, 1, 1, 6, 2), randn(generator, 1, 1, 6, 2)
    with backend.using("plain"):
        assert torch.autograd.gradgradcheck(
            lambda *x: sliding_window_attention(*x, 4, theta=100.0), (q, k, v), fast_mode=True
        )
        assert torch.autograd.gradgradcheck(lambda *x: full_attention(*x, theta=100.0), (q, k, v), fast_mode=True)


@pytest.mark.parametrize("read", [attend_dense, attend_gathered])
def test_chosen_chunks_twice(read, generator):
    q, k, v = randn(generator, 1, 1, 2, 5, 2), randn(generator, 1, 1, 3, 2, 2), randn(generator, 1, 1, 3, 2, 2)
    chunks = torch.tensor([[0, 0], [0, 1], [0, 2], [1, 2], [0, 1]])[None, None]
    scores = randn(generator, 1, 1, 5, 2)
    empty = torch.zeros(5, 2, dtype=torch.bool)
    empty[0] = True

    def fused(q, k, v, scores):
        return read(q, k, v, Selection(chunks, scores.masked_fill(empty, -torch.inf)))

    assert torch.autograd.gradcheck(fused, (q, k, v, scores), fast_mode=True)
    assert torch.autograd.gradgradcheck(fused, (q, k, v, scores), fast_mode=True)


def test_chosen_chunks_by_chunk_once(generator):
    """With heads, a group, a shared store, a ragged end and empty slots; its second derivative raises (elsewhere)."""
    q, k, v = randn(generator, 2, 2, 2, 7, 2), randn(generator, 1, 2, 3, 2, 2), randn(generator, 1, 2, 3, 2, 2)
    chunks = torch.tensor([0, 1, 2, 0, 2, 1, 1, 2, 0, 2, 0, 1, 2, 1]).view(7, 2).expand(2, 2, 7, 2)
    scores, empty = randn(generator, 2, 2, 7, 2), torch.arange(14).view(7, 2) % 5 == 0

    def fused(q, k, v, scores):
        return attend_by_chunk(q, k, v, Selection(chunks, scores.masked_fill(empty, -torch.inf)))

    assert torch.autograd.gradcheck(fused, (q, k, v, scores))
