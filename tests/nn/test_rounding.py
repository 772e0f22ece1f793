"""Weights in few bits: the nearest multiples of a scale a row, and what they would take."""

import pytest
import torch
from torch import nn

from lablib.nn.rounding import rounded, with_rounded


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_each_weight_is_the_nearest_multiple_of_its_row(bits, generator):
    weight = torch.randn(5, 7, generator=generator, dtype=torch.float64)
    found, levels = rounded(weight, bits), 2 ** (bits - 1) - 1
    for row, near in zip(weight, found, strict=True):
        grid = torch.arange(-levels, levels + 1) * (row.abs().max() / levels)
        nearest = (row[:, None] - grid).abs().min(1).values
        assert torch.allclose((row - near).abs(), nearest)
        assert torch.isclose(near[:, None], grid).any(1).all()


def test_32_bits_are_the_weights_and_the_model_itself_is_left_alone(generator):
    model = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    before = [p.clone() for p in model.parameters()]
    whole, stored = with_rounded(model, "*", 32, count=2)
    assert stored == 4 * (24 + 12)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), before, strict=True))
    small, stored = with_rounded(model, "*", 3, count=2)
    assert stored == 24 * 3 // 8 + 5 + 4 * (4 + 3)  # 36 bits of the second map are 5 bytes
    assert not torch.equal(small[0].weight, before[0])
    assert torch.equal(small[0].bias, before[1])
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), before, strict=True))


def test_a_row_of_zeros_stays_and_odd_bits_are_refused():
    assert torch.equal(rounded(torch.zeros(2, 3), 4), torch.zeros(2, 3))
    for bits in (1, 0, 17):
        with pytest.raises(ValueError, match=f"bits is {bits}; expected 2 to 16"):
            rounded(torch.ones(2, 2), bits)
    with pytest.raises(ValueError, match="matches 1 modules, expected 2"):
        with_rounded(nn.Sequential(nn.Linear(2, 2)), "*", 8, count=2)
