"""The inner step in 16 bits is that of float32, rounded; in float32 and float64 it is what it has always been."""

import math

import pytest
import torch
from torch import Generator, nn

from lablib.longcontext.seesaw import gradient_norm
from lablib.nn.recurrent import GatedDeltaNet, KeyValueBinding
from lablib.ops.fast_weights import clip_factor, inner_step

SIXTEEN = [torch.float16, torch.bfloat16]


def gradients(norm: float, dtype: torch.dtype, size: int = 512) -> list[torch.Tensor]:
    """Of two sequences, in two tensors, with this joint norm."""
    drawn = torch.randn(2, size, generator=Generator().manual_seed(0), dtype=torch.float64)
    drawn = drawn / drawn.norm(dim=1, keepdim=True) * norm
    return [drawn[:, : size // 2].to(dtype), drawn[:, size // 2 :].reshape(2, 2, -1).to(dtype)]


@pytest.mark.parametrize("dtype", SIXTEEN)
@pytest.mark.parametrize(("norm", "most"), [(300.0, 1.0), (3e4, 1.0), (2e5, 0.5), (300.0, 1e-4), (5000.0, 300.0)])
def test_gradients_of_16_bits_are_cut_to_the_norm_that_is_asked_for(norm, most, dtype):
    given = gradients(norm, dtype)
    factor = clip_factor(given, most)
    cut = sum((part.double().flatten(1) * factor[:, None].double()).square().sum(1) for part in given).sqrt()
    torch.testing.assert_close(cut, torch.full((2,), most, dtype=torch.float64), rtol=1e-5, atol=0)
    assert clip_factor(gradients(0.5, dtype), 1.0).tolist() == [1.0, 1.0]
    assert clip_factor(given, math.inf).tolist() == [1.0, 1.0]
    assert clip_factor([torch.zeros(2, 3, dtype=dtype)], most).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("norm", [0.3, 300.0])
def test_wider_gradients_are_cut_by_the_same_operations_as_ever(norm, dtype):
    given = gradients(norm, dtype)
    squares = sum(gradient.flatten(1).square().sum(1) for gradient in given)
    factor = clip_factor(given, 1.5)
    assert torch.equal(factor, 1.5 / squares.clamp_min(1.5**2).sqrt())
    assert factor.dtype == dtype


@pytest.mark.parametrize("dtype", SIXTEEN)
@pytest.mark.parametrize("order", ["exact", "first", "none"])
def test_a_step_of_16_bits_has_its_type_and_the_length_that_is_asked_for(order, dtype):
    slope = torch.full((2, 400), 100.0, dtype=dtype)  # a norm of 2000
    fast = {"w": torch.zeros(2, 400, dtype=dtype, requires_grad=True)}
    after, _ = inner_step(fast, lambda w: ((w["w"] * slope).float().sum(1), None), 1.0, clip=4.0, order=order)
    assert after["w"].dtype == dtype
    torch.testing.assert_close(after["w"], torch.full((2, 400), -0.2, dtype=dtype), rtol=1e-2, atol=0)


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_key_value_binding_survives_values_whose_squares_16_bits_cannot_hold(dtype):
    torch.manual_seed(0)
    layer = KeyValueBinding(16, 2, 4, 0.1, 1.0, simplified=False)
    for parameter in layer.parameters():
        if parameter.ndim:
            nn.init.normal_(parameter, std=0.3)
    layer.value.weight.data *= 300.0
    x = torch.randn(2, 12, 16).to(dtype)
    with torch.no_grad():
        expected = layer(x.float())[0]
        found = layer.to(dtype)(x)[0]
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1 * float(expected.abs().max()))


@pytest.mark.parametrize("dtype", SIXTEEN)
def test_a_key_of_nothing_is_nothing_and_not_nan(dtype):
    """In float16 the 1e-12 that keeps a length above 0 is 0 itself."""
    layer = GatedDeltaNet(16, 2, 4)
    with torch.no_grad():
        mixed = layer.into(torch.zeros(1, 8, 16))
        assert not mixed.any()
        try:
            found, _ = layer.to(dtype)(torch.zeros(1, 8, 16, dtype=dtype))
        except NotImplementedError:
            pytest.skip("triangular systems of 16 bits")
    assert not found.isnan().any()


@pytest.mark.parametrize("dtype", [*SIXTEEN, torch.float32, torch.float64])
def test_the_norm_of_a_gradient_is_its_norm_in_any_type(dtype):
    parameter = nn.Parameter(torch.zeros(100, dtype=dtype))
    parameter.grad = torch.full((100,), 3000.0, dtype=dtype)
    assert gradient_norm([parameter]) == pytest.approx(10 * float(parameter.grad[0]), rel=1e-6)
