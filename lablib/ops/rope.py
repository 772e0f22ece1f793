"""Rotary position embedding (RoPE; Su et al., arXiv 2104.09864, section 3.2.2)."""

import torch
from jaxtyping import Float, Num
from torch import Tensor


def rotary(
    x: Float[Tensor, "*batch time dim"], positions: Num[Tensor, " time"], theta: float = 10_000.0
) -> Float[Tensor, "*batch time dim"]:
    """Rotate each pair (i, i + dim/2) of `x` by position * theta^(-2i/dim).

    The angles are taken in double precision, so positions of many millions keep their phase. ValueError for an odd
    `dim`, or for other than one position a token.
    """
    if x.shape[-1] % 2 or len(positions) != x.shape[-2]:
        raise ValueError(f"x is {tuple(x.shape)} at {len(positions)} positions; expected (..., positions, an even dim)")
    half = x.shape[-1] // 2
    frequencies = theta ** (-torch.arange(half, dtype=torch.float64, device=x.device) / half)
    angles = positions.to(torch.float64)[:, None] * frequencies
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
