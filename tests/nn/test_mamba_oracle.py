"""Our Mamba-2 layer against the one of Hugging Face's `transformers`: the same weights give the same outputs."""

import pytest
import torch
from torch import Generator
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from lablib.nn.plan import HeadShape
from lablib.nn.recurrent import Mamba2

WIDTH, HEADS, STATE = 16, 4, 8


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("time", [1, 7, 16, 45])
def test_the_same_weights_give_the_same_outputs(time, groups):
    torch.manual_seed(0)
    cfg = Mamba2Config(
        hidden_size=WIDTH, expand=2, num_heads=HEADS, head_dim=2 * WIDTH // HEADS, state_size=STATE, n_groups=groups,
        conv_kernel=4, use_conv_bias=False, use_bias=False, chunk_size=16, time_step_limit=(0.0, float("inf")),
        layer_norm_epsilon=1e-6,
    )  # fmt: skip
    ours = Mamba2(WIDTH, HeadShape(HEADS, 2 * WIDTH // HEADS), STATE, chunk=8, groups=groups).double()
    theirs = Mamba2Mixer(cfg, layer_idx=0).double()
    pairs = {
        "into.weight": theirs.in_proj.weight,
        "convolution.kernel": theirs.conv1d.weight[:, 0],
        "log_rate": theirs.A_log,
        "step_bias": theirs.dt_bias,
        "skip": theirs.D,
        "norm.gain": theirs.norm.weight,
        "out.weight": theirs.out_proj.weight,
    }
    missing = ours.load_state_dict(pairs)
    assert not missing.missing_keys
    x = torch.randn(2, time, WIDTH, dtype=torch.float64, generator=Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ours(x)[0], theirs(x), rtol=1e-4, atol=1e-5)  # theirs is float32 inside
