"""Attention: the banded fast path is the definition, at every ragged size, and never makes a matrix of time by time."""

import math

import pytest
import torch
from allocations import Allocations

from lablib.ops import backend
from lablib.ops.attention import attention_reference, full_attention, sliding_window_attention, window_mask
from lablib.ops.rope import rotary

DOUBLE = {"dtype": torch.float64}


def draw(generator, time: int, *, batch: int = 2, heads: int = 2, kv_heads: int = 2, dim: int = 4, dtype=torch.float64):
    shapes = [(batch, heads, time, dim), (batch, kv_heads, time, dim), (batch, kv_heads, time, dim)]
    return [torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def turned(q, k, theta):
    """Queries and keys at their absolute positions."""
    if theta is None:
        return q, k
    positions = torch.arange(q.shape[-2])
    return rotary(q, positions, theta), rotary(k, positions, theta)


def gradients(out, inputs):
    weight = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).reshape(out.shape)
    return torch.autograd.grad((out * weight).sum(), inputs)


def test_the_definition_is_a_weighted_mean_of_what_each_query_may_read(generator):
    q, k, v = (x.detach()[0, 0] for x in draw(generator, 5))
    mask = torch.tensor([[i == j or (i > j and (i + j) % 3 != 1) for j in range(5)] for i in range(5)])
    expected = torch.zeros(5, 4, **DOUBLE)
    for i in range(5):
        read = [j for j in range(5) if mask[i, j]]
        weights = [math.exp(float(q[i] @ k[j]) / 2) for j in read]  # sqrt(dim) = 2
        for j, weight in zip(read, weights, strict=True):
            expected[i] += weight / sum(weights) * v[j]
    torch.testing.assert_close(attention_reference(q[None, None], k[None, None], v[None, None], mask)[0, 0], expected)


@pytest.mark.parametrize(("time", "window"), [(1, 1), (5, 1), (5, 3), (5, 5), (5, 9)])
def test_the_window_mask_holds_the_last_positions_and_itself(time, window):
    mask = window_mask(time, window)
    for i in range(time):
        assert mask[i].nonzero()[:, 0].tolist() == list(range(max(0, i - window + 1), i + 1))


@pytest.mark.parametrize("theta", [None, 100.0], ids=["NoPE", "RoPE"])
@pytest.mark.parametrize("time", [1, 2, 63, 100])
def test_full_attention_is_the_definition(time, theta, generator):
    inputs = q, k, v = draw(generator, time)
    expected = attention_reference(*turned(q, k, theta), v, window_mask(time, time))
    out = full_attention(q, k, v, theta=theta)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients(out, inputs), gradients(expected, inputs))


@pytest.mark.parametrize("window", [5, 17], ids=["window", "full"])
@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 2), (4, 1), (6, 3)])
def test_grouped_queries_read_the_repeated_heads(window, heads, kv_heads, generator):
    inputs = q, k, v = draw(generator, 17, heads=heads, kv_heads=kv_heads)
    out = sliding_window_attention(q, k, v, window, theta=100.0)
    wide = [x.repeat_interleave(heads // kv_heads, dim=1) for x in (k, v)]
    expected = sliding_window_attention(q, *wide, window, theta=100.0)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients(out, inputs), gradients(expected, inputs))
    torch.testing.assert_close(attention_reference(*turned(q, k, 100.0), v, window_mask(17, window)), expected)


RAGGED = [
    # time, window, block: windows of one and of more than everything, blocks that do not divide the time
    (1, 1, None),
    (1, 4, None),
    (7, 1, None),
    (7, 1, 3),
    (8, 7, 4),
    (8, 8, 4),
    (9, 8, 4),
    (9, 30, 4),
    (13, 5, 1),
    (13, 5, 2),
    (13, 12, 5),
    (63, 8, None),
    (64, 16, 16),
    (65, 16, 16),
    (100, 3, 7),
    (100, 64, 8),
    (100, 10, 200),
    (300, 129, None),
]


@pytest.mark.parametrize("theta", [None, 100.0], ids=["NoPE", "RoPE"])
@pytest.mark.parametrize(("time", "window", "block"), RAGGED, ids=lambda n: str(n))
def test_the_banded_path_is_the_definition_with_gradients(time, window, block, theta, generator):
    inputs = q, k, v = draw(generator, time)
    expected = attention_reference(*turned(q, k, theta), v, window_mask(time, window))
    out = sliding_window_attention(q, k, v, window, theta=theta, block=block)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients(out, inputs), gradients(expected, inputs))


SINKS = [
    # time, window, sinks, block: sinks inside the window, beyond it, across blocks, more than there are tokens
    (9, 1, 1, None),
    (13, 5, 1, 4),
    (13, 5, 4, 2),
    (40, 3, 9, 4),
    (65, 16, 16, 16),
    (100, 3, 7, 7),
    (30, 4, 29, 8),
    (30, 4, 100, 8),
    (300, 129, 2, None),
]


@pytest.mark.parametrize("theta", [None, 100.0], ids=["NoPE", "RoPE"])
@pytest.mark.parametrize(("time", "window", "sinks", "block"), SINKS, ids=lambda n: str(n))
def test_attention_sinks_are_the_definition_with_gradients(time, window, sinks, block, theta, generator):
    """On the banded path, on the plain one, and for the last queries alone, behind a cache of all keys."""
    inputs = q, k, v = draw(generator, time, heads=4)
    mask = window_mask(time, window, sinks=sinks)
    expected = attention_reference(*turned(q, k, theta), v, mask)
    out = sliding_window_attention(q, k, v, window, sinks=sinks, theta=theta, block=block)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients(out, inputs), gradients(expected, inputs))
    with backend.using("plain"):
        plain = sliding_window_attention(q, k, v, window, sinks=sinks, theta=theta)
    torch.testing.assert_close(plain, expected)
    for last in (1, time // 2):
        tail = sliding_window_attention(q[:, :, -last:], k, v, window, sinks=sinks, theta=theta, block=block)
        torch.testing.assert_close(tail, expected[:, :, -last:])


def test_the_mask_with_sinks_adds_the_first_positions_and_no_future():
    mask = window_mask(6, 2, sinks=2)
    assert [row.nonzero()[:, 0].tolist() for row in mask] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3], [0, 1, 3, 4],
                                                              [0, 1, 4, 5]]  # fmt: skip


def test_a_negative_number_of_sinks_is_refused(generator):
    with pytest.raises(ValueError, match="sinks is -1; expected 0"):
        sliding_window_attention(*draw(generator, 4), 2, sinks=-1)


@pytest.mark.parametrize("window", [64, 65, 1000])
def test_a_window_as_long_as_the_sequence_is_full_attention_bitwise(window, generator):
    q, k, v = draw(generator, 64)
    assert torch.equal(sliding_window_attention(q, k, v, window, theta=100.0), full_attention(q, k, v, theta=100.0))


def test_a_window_of_one_is_the_values(generator):
    q, k, v = draw(generator, 20)
    torch.testing.assert_close(sliding_window_attention(q, k, v, 1, theta=100.0), v)


@pytest.mark.parametrize("theta", [None, 100.0], ids=["NoPE", "RoPE"])
@pytest.mark.parametrize("cut", [0, 6, 7, 8, 31, 62])
@pytest.mark.parametrize("window", [1, 8, 64])
def test_the_future_changes_no_bit_of_the_past(window, cut, theta, generator):
    before = [x.detach() for x in draw(generator, 64, dtype=torch.float32)]
    after = [x.clone() for x in before]
    for x in after:
        x[:, :, cut + 1 :] = torch.randn(x[:, :, cut + 1 :].shape, generator=generator) * 100
    one, two = (sliding_window_attention(*x, window, theta=theta) for x in (before, after))
    assert torch.equal(one[:, :, : cut + 1], two[:, :, : cut + 1])
    assert not torch.equal(one[:, :, cut + 1 :], two[:, :, cut + 1 :])


def test_what_has_left_the_window_changes_no_bit_either(generator):
    before = [x.detach() for x in draw(generator, 64, dtype=torch.float32)]
    after = [x.clone() for x in before]
    for x in after[1:]:
        x[:, :, 20] += 100.0
    one, two = (sliding_window_attention(*x, 9) for x in (before, after))
    changed = (one != two).any(-1).any(0).any(0).nonzero()[:, 0].tolist()
    assert changed == list(range(20, 29))


@pytest.mark.parametrize(("window", "sinks"), [(8, 0), (64, 0), (64, 4)])
def test_no_tensor_has_time_by_time_elements(window, sinks, generator):
    time = 4096
    q, k, v = draw(generator, time, batch=1, heads=1, kv_heads=1, dtype=torch.float32)
    with Allocations(q, k, v) as seen:
        sliding_window_attention(q, k, v, window, sinks=sinks, theta=100.0).sum().backward()
    assert seen.largest <= 8 * time * (window + 4)
    assert seen.largest < time * time / 5


def test_the_largest_tensor_grows_linearly_with_time(generator):
    def largest(time):
        inputs = draw(generator, time, batch=1, dtype=torch.float32)
        with Allocations(*inputs) as seen:
            sliding_window_attention(*inputs, 16, theta=100.0)
        return seen.largest

    assert largest(4096) <= 4 * largest(1024)


@pytest.mark.parametrize("window", [0, -1])
def test_a_window_without_the_token_itself_is_refused(window, generator):
    q, k, v = draw(generator, 4)
    with pytest.raises(ValueError, match=f"window is {window}; expected at least 1"):
        sliding_window_attention(q, k, v, window)


def test_inputs_are_unchanged(generator):
    inputs = [x.detach() for x in draw(generator, 30)]
    before = [x.clone() for x in inputs]
    sliding_window_attention(*inputs, 8, theta=100.0)
    full_attention(*inputs, theta=100.0)
    attention_reference(*inputs, window_mask(30, 8))
    assert all(torch.equal(x, y) for x, y in zip(inputs, before, strict=True))
