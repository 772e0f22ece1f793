"""Sliding-window attention by Triton against its definition: forward, log-sum-exp and all gradients."""

import functools
import math

import pytest
import torch
from conftest import with_margins
from definitions import FARTHEST, errors, pairwise, window_attention

from labkernels.runtime import Tiles
from labkernels.swa import op
from labkernels.swa.op import sliding_window_attention

FACTORS = {
    "batch": (1, 2),
    "heads": ((1, 1), (4, 2)),
    "time": (96, 101),
    "dim": (16, 32),
    "window": (7, 70),  # 70: tiles in the middle of the band need no mask
    "sinks": (0, 3, 20),  # 20: more than a tile of them
    "tiles": ((16, 16), (32, 16), (16, 32)),
    "dtype": (torch.float32, torch.float16),
}
# batch, (heads, kv_heads), time, dim, window, sinks, tiles of queries and keys, type
CASES = {
    "one token": (1, (1, 1), 1, 16, 1, 0, (16, 16), torch.float32),
    "less than a tile, a window of one": (2, (2, 1), 15, 16, 1, 0, (16, 16), torch.float32),
    "full attention": (1, (2, 2), 40, 16, 40, 0, (16, 16), torch.float16),
    "more sinks than tokens": (1, (2, 1), 33, 16, 2, 40, (16, 16), torch.float32),
} | {f"pairs {i}": tuple(case.values()) for i, case in enumerate(pairwise(FACTORS))}
cases = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def draw(batch, heads, kv_heads, time, dim, dtype):
    """q, k, v, in buffers of NaN."""
    generator = torch.Generator().manual_seed(time)
    shapes = ((batch, heads, time, dim), *2 * ((batch, kv_heads, time, dim),))
    return [with_margins(torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)) for shape in shapes]


@pytest.fixture
def cut(monkeypatch):
    """Cut all kernels into tiles of some size."""

    def to(queries: int, keys: int) -> None:
        monkeypatch.setattr(op, "fitting", lambda *_: Tiles(queries, keys))

    return to


@cases
def test_output_and_gradients_are_those_of_the_definition(case, cut):
    batch, heads, time, dim, window, sinks, tiles, dtype = case
    cut(*tiles)
    inputs = draw(batch, *heads, time, dim, dtype)
    found = errors(
        lambda q, k, v: sliding_window_attention(q, k, v, window, sinks=sinks),
        lambda q, k, v: window_attention(q, k, v, window, sinks)[0],
        inputs,
    )
    assert max(found) < FARTHEST[dtype]


def test_the_log_sum_exp_is_an_output_with_a_gradient_of_its_own(cut):
    cut(16, 16)
    q, k, v = draw(1, 2, 1, 21, 16, torch.float32)
    mixed = torch.randn(1, 2, 21, generator=torch.Generator().manual_seed(3), dtype=torch.float64)

    def both(out, lse):
        return out.sum() + (lse * mixed.to(lse.dtype)).sum()

    found = errors(
        lambda q, k, v: both(*sliding_window_attention(q, k, v, 6, return_lse=True)),
        lambda q, k, v: both(*window_attention(q, k, v, 6)),
        (q, k, v),
    )
    assert max(found) < FARTHEST[torch.float32]


def test_strides_are_followed(cut):
    """(batch, time, head, dim) in memory, a slice of it, and a last axis that is not dense; NaN all around."""
    cut(16, 16)
    generator = torch.Generator().manual_seed(0)
    longer = torch.randn(2, 40, 2, 16, generator=generator)
    longer[:, :3] = torch.nan
    q = with_margins(longer)[:, 3:].transpose(1, 2)
    k = with_margins(torch.randn(2, 37, 1, 16, generator=generator)).transpose(1, 2)
    v = with_margins(torch.randn(2, 1, 16, 37, generator=generator)).mT
    assert not any(x.is_contiguous() for x in (q, v))
    found = errors(
        lambda q, k, v: sliding_window_attention(q, k, v, 9),
        lambda q, k, v: window_attention(q, k, v, 9)[0],
        (q, k, v),
    )
    assert max(found) < FARTHEST[torch.float32]


@pytest.mark.parametrize(("window", "sinks"), [(40, 0), (17, 2)])
def test_gradcheck_in_double_precision(window, sinks, cut):
    """Three tiles of queries: with masked ones at both edges and one between that needs no mask."""
    cut(16, 16)
    inputs = [x.requires_grad_() for x in draw(1, 2, 1, 50, 16, torch.float64)]
    both = functools.partial(sliding_window_attention, window=window, sinks=sinks, return_lse=True)
    assert torch.autograd.gradcheck(both, inputs, fast_mode=True)


@pytest.mark.parametrize("tiles", FACTORS["tiles"])
def test_the_larger_window_has_tiles_in_the_middle_of_the_band(tiles):
    """After the last tile that the left edge crosses, before the first that the diagonal does."""
    m, n = tiles
    middles = [((m0 + 1) // n * n) - math.ceil(max(m0 + m - 70, 0) / n) * n for m0 in range(0, 96, m)]
    assert max(middles) >= n


def test_a_second_derivative_raises_instead_of_going_missing():
    q, k, v = (x.requires_grad_() for x in draw(1, 1, 1, 8, 16, torch.float32))
    (first,) = torch.autograd.grad(sliding_window_attention(q, k, v, 4).square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="backend 'plain'"):
        torch.autograd.grad(first.sum(), k)
    with pytest.raises(NotImplementedError, match="second derivative"):
        (first * q).sum().backward()


def test_large_logits_stay_finite(cut):
    cut(16, 16)
    q, k, v = draw(1, 1, 1, 33, 16, torch.float32)
    found = errors(
        lambda q, k, v: sliding_window_attention(100 * q, k, v, 8),
        lambda q, k, v: window_attention(100 * q, k, v, 8)[0],
        (q, k, v),
    )
    assert max(found) < 1e-4


def test_types_that_the_interpreter_computes_wrongly_are_refused():
    q, k, v = (x.bfloat16() for x in draw(1, 1, 1, 8, 16, torch.float32))
    with pytest.raises(ValueError, match="interpreter computes bfloat16 wrongly"):
        sliding_window_attention(q, k, v, 4)
