"""The teaching kernels compute what they say, at sizes that no block divides."""

import pytest
import torch
from conftest import with_margins
from definitions import relative_error, window_attention

from labkernels.lessons.add import add
from labkernels.lessons.flash import flash_attention
from labkernels.lessons.matmul import matmul
from labkernels.lessons.softmax import softmax


def randn(*shape, dtype=torch.float32):
    return with_margins(torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype))


@pytest.mark.parametrize("count", [1, 15, 16, 33])
def test_sums(count):
    x, y = randn(count), randn(count)
    assert torch.equal(add(x, y, block=16), x + y)


@pytest.mark.parametrize("how", ["loop", "block", "blocks"])
def test_softmax_of_rows_with_large_and_infinite_numbers(how):
    x = 30 * randn(3, 37)
    x[1, :20] = -torch.inf
    found = softmax(x, how, block=16)
    torch.testing.assert_close(found, x.softmax(-1), atol=1e-6, rtol=1e-5)


def test_a_softmax_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="how is 'tiled'; expected 'loop', 'block' or 'blocks'"):
        softmax(randn(2, 4), "tiled")


@pytest.mark.parametrize(("dtype", "farthest"), [(torch.float32, 1e-6), (torch.float16, 1e-3)])
def test_products(dtype, farthest):
    a, b = randn(33, 40, dtype=dtype), randn(40, 17, dtype=dtype)
    assert relative_error(matmul(a, b, (16, 16, 16)), a.double() @ b.double()) < farthest


@pytest.mark.parametrize("time", [1, 16, 37])
def test_attention_without_its_matrix(time):
    q, k, v = randn(2, time, 16), randn(2, time, 16), randn(2, time, 16)
    right = window_attention(*(x[None].double() for x in (q, k, v)), time)[0][0]
    assert relative_error(flash_attention(q, k, v, (16, 16)), right) < 1e-5
