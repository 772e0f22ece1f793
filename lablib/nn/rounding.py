"""Weights in few bits: each row of a linear map is rounded to multiples of its largest weight by 2^(bits - 1) - 1.

The rounded values stay in the type of the weights, so a map computes what one with stored codes would compute. 32 bits:
the weights as they are.
"""

import copy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lablib.nn.surgery import select


def rounded(weight: Float[Tensor, "out in"], bits: int) -> Float[Tensor, "out in"]:
    """The nearest values that `bits` bits a weight and one scale a row can store. ValueError below 2 bits."""
    if bits == 32:
        return weight.clone()
    if not 2 <= bits <= 16:
        raise ValueError(f"bits is {bits}; expected 2 to 16, of which one is the sign, or 32")
    levels = 2 ** (bits - 1) - 1
    scale = weight.abs().amax(1, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny) / levels
    return (weight / scale).round() * scale


@torch.no_grad()
def with_rounded(model: nn.Module, pattern: str, bits: int, *, count: int) -> tuple[nn.Module, int]:
    """A copy whose selected linear maps are rounded, and the bytes of their codes and scales (fp32).

    `pattern` and `count` as in `select`, of linear maps.
    """
    model, stored = copy.deepcopy(model), 0
    for part in select(model, pattern, count=count, kind=nn.Linear).values():
        part.weight.copy_(rounded(part.weight, bits))
        stored += (part.weight.numel() * bits + 7) // 8 + (4 * part.out_features if bits < 32 else 0)
    return model, stored
