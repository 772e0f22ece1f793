"""The small parts do what their formulas say."""

import torch
from torch import nn

from lablib.nn.layers import Linear, RMSNorm, SwiGLU


def test_rms_norm_divides_by_the_root_mean_square(generator):
    x, norm = torch.randn(3, 5, 8, generator=generator) * 7, RMSNorm(8)
    with torch.no_grad():
        norm.gain.copy_(torch.randn(8, generator=generator))
    torch.testing.assert_close(norm(x), x / x.square().mean(-1, keepdim=True).sqrt() * norm.gain)


def test_rms_norm_does_not_see_the_scale_of_its_input(generator):
    x, norm = torch.randn(4, 8, generator=generator), RMSNorm(8)
    torch.testing.assert_close(norm(1000 * x), norm(x))
    assert norm(torch.zeros(1, 8)).isfinite().all()


def test_a_linear_map_has_no_bias():
    layer = Linear(3, 5)
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert torch.equal(layer(torch.zeros(2, 3)), torch.zeros(2, 5))
    assert isinstance(layer, nn.Linear)


def test_the_gated_mlp_is_its_formula(generator):
    x, mlp = torch.randn(2, 8, generator=generator), SwiGLU(8, 12)
    gate, up = x @ mlp.gate.weight.T, x @ mlp.up.weight.T
    torch.testing.assert_close(mlp(x), (gate * torch.sigmoid(gate) * up) @ mlp.down.weight.T)
