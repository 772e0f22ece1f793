"""Rotary positions: relative, norm-preserving, and exact at any length."""

import numpy as np
import pytest
import torch

from lablib.ops.rope import rotary

FAR, FARTHER = 10_000_000, 20_000_001  # the second is not a float32 number


def oracle(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
    """Each pair (i, i + half) as a complex number, turned in extended precision."""
    half = x.shape[-1] // 2
    frequencies = np.longdouble(theta) ** (-np.arange(half, dtype=np.longdouble) / half)
    turn = np.exp(1j * (positions.astype(np.longdouble)[:, None] * frequencies))
    pairs = (x[..., :half] + 1j * x[..., half:]) * turn
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


@pytest.mark.parametrize("start", [0, 1, 1000, FAR, FARTHER], ids=lambda start: f"from {start}")
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 1e-8)], ids=["fp32", "fp64"])
def test_pairs_turn_by_position_times_frequency_also_at_twenty_million(start, dtype, tolerance, generator):
    x = torch.randn(2, 5, 8, generator=generator, dtype=dtype)
    positions = torch.arange(start, start + 5)
    expected = oracle(x.double().numpy(), positions.numpy(), 10_000.0)
    np.testing.assert_allclose(rotary(x, positions).double().numpy(), expected.astype(float), atol=tolerance)


@pytest.mark.parametrize("shift", [1, 1000, FAR, FARTHER], ids=lambda shift: f"shifted by {shift}")
def test_products_depend_only_on_the_difference_of_positions(shift, generator):
    q, k = (torch.randn(6, 16, generator=generator, dtype=torch.float64) for _ in range(2))
    place = torch.arange(6)
    near = rotary(q, place) @ rotary(k, place).T
    far = rotary(q, place + shift) @ rotary(k, place + shift).T
    torch.testing.assert_close(far, near, atol=1e-7, rtol=0)
    moved = rotary(q, place + shift + 1) @ rotary(k, place + shift).T
    assert (moved - near).abs().max() > 0.1


def test_norms_are_preserved(generator):
    x = torch.randn(3, 7, 8, generator=generator, dtype=torch.float64)
    turned = rotary(x, torch.arange(7) * 12_345)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert not torch.allclose(turned, x)


def test_position_zero_is_the_identity_bitwise(generator):
    x = torch.randn(4, 3, 8, generator=generator)
    assert torch.equal(rotary(x, torch.zeros(3, dtype=torch.long)), x)


def test_theta_is_the_ratio_of_the_fastest_and_slowest_turn():
    # pair 0 turns by 1 a position, pair i by theta^(-i/half): with theta = 16 and half = 2, by 1 and by 1/4
    x = torch.tensor([[1.0, 1.0, 0.0, 0.0]], dtype=torch.float64)
    turned = rotary(x, torch.tensor([2]), theta=16.0)[0]
    angles = torch.tensor([2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(turned, torch.cat([angles.cos(), angles.sin()]))


def test_the_input_is_unchanged(generator):
    x, positions = torch.randn(3, 8, generator=generator), torch.arange(3)
    before = x.clone()
    rotary(x, positions)
    assert torch.equal(x, before)
    assert torch.equal(positions, torch.arange(3))
