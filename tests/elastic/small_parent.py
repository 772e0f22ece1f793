"""A small elastic parent with weights that matter, and budgets along every axis."""

import torch
from torch import Generator

from lablib.elastic.budgets import Budget
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig

SMALL = ModelConfig(
    plan="mamba2:4x6+no-mlp relu2:24 full-nope:4x4+no-mlp relu2:20 mamba2:8x3+no-mlp",
    vocab=11, width=16, groups=2, state=4, chunk=4,
)  # fmt: skip
ROTATED = SMALL.replace(plan=SMALL.plan.replace("full-nope", "full"))
BUDGETS = {
    "everything": Budget(),
    "width": Budget(width=9),
    "hidden": Budget(hidden=7),
    "hidden by layer": Budget(hidden=(3, 20)),
    "Mamba heads": Budget(mamba_heads=1),
    "Mamba heads by layer": Budget(mamba_heads=(2, 3)),
    "Mamba channels": Budget(mamba_channels=2),
    "heads": Budget(heads=3),
    "layers": Budget(layers=(0, 2, 4)),
    "jointly": Budget(width=11, hidden=(5, 9), mamba_heads=(1, 3), mamba_channels=3, heads=2, layers=(0, 1, 2, 3)),
    "one layer": Budget(width=5, hidden=1, layers=(3,)),
}


def make_parent(dtype: torch.dtype = torch.float64, shape: ModelConfig = SMALL) -> LanguageModel:
    """With weights far from the initial ones, gains and biases of steps included."""
    model, noise = LanguageModel(shape, Generator().manual_seed(0)), Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    return model.to(dtype)


def make_tokens(rows: int = 3, length: int = 13) -> torch.Tensor:
    return torch.randint(SMALL.vocab, (rows, length), generator=Generator().manual_seed(2))
