"""The small parts every model here is made of: linear maps, norms, the gated MLP."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class Linear(nn.Linear):
    """A linear map without bias. With weights (batch, out, in) in its place, each sequence of a batch has its own."""

    def __init__(self, num_in: int, num_out: int):
        super().__init__(num_in, num_out, bias=False)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch out"]:
        return super().forward(x) if self.weight.ndim == 2 else x @ self.weight.mT


class RMSNorm(nn.Module):
    """x / rms(x) * gain over the last axis (arXiv 1910.07467)."""

    def __init__(self, width: int):
        super().__init__()
        self.gain = nn.Parameter(Tensor(width).fill_(1.0))

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return F.rms_norm(x, x.shape[-1:], self.gain, eps=1e-6)


class SwiGLU(nn.Module):
    """Gated MLP: down(silu(gate x) * up x) (arXiv 2002.05202)."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.gate, self.up, self.down = Linear(width, hidden), Linear(width, hidden), Linear(hidden, width)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return self.down(F.silu(self.gate(x)) * self.up(x))
