"""The small parts of every model: linear maps, norms, MLPs."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

Hidden = Float[Tensor, "batch time width"]


class Linear(nn.Linear):
    """A linear map, without bias unless asked. With weights (batch, out, in), each sequence of a batch has its own."""

    def __init__(self, num_in: int, num_out: int, bias: bool = False):
        super().__init__(num_in, num_out, bias=bias)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        if self.weight.ndim == 2:
            return super().forward(x)
        y = x @ self.weight.mT
        return y if self.bias is None else y + self.bias[:, None]


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis (arXiv 1910.07467); with `groups`, over each of so many parts of it."""

    def __init__(self, width: int, groups: int = 1):
        super().__init__()
        self.groups = groups
        self.gain = nn.Parameter(Tensor(width).fill_(1.0))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        if self.groups == 1:
            return F.rms_norm(x, x.shape[-1:], self.gain, eps=1e-6)
        parts = x.unflatten(-1, (self.groups, -1))
        return F.rms_norm(parts, parts.shape[-1:], eps=1e-6).flatten(-2) * self.gain


class SwiGLU(nn.Module):
    """Gated MLP: down(silu(gate x) * up x) (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int, bias: bool = False):
        super().__init__()
        self.gate, self.up = Linear(width, hidden, bias), Linear(width, hidden, bias)
        self.down = Linear(hidden, width, bias)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class SquaredReLU(nn.Module):
    """MLP without a gate: down(relu(up x)^2) (arXiv 2109.08668)."""

    def __init__(self, width: int, hidden: int, bias: bool = False):
        super().__init__()
        self.up, self.down = Linear(width, hidden, bias), Linear(hidden, width, bias)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.down(F.relu(self.up(x)).square())
