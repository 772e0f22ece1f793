"""Numbers of 16 bits hold neither squares (float16 ends at 65 504) nor long sums (bfloat16 has 8 bits)."""

import torch
from jaxtyping import Float
from torch import Tensor


def wide(x: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """The tensor in float32 where it has 16 bits, else itself."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
