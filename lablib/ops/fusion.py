"""How much each chosen chunk counts: fusion weights from scores (HSA; arXiv 2511.23319, section 2.2)."""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def lowest(scores: Tensor) -> float:
    """A finite score that weighs nothing beside any other, in the type of the scores."""
    return max(-1e9, torch.finfo(scores.dtype).min)


def fusion_weights(
    scores: Float[Tensor, "*batch k"], fusion: Literal["softmax", "stick-breaking"] = "softmax"
) -> Float[Tensor, "*batch k"]:
    """Weights of the chosen chunks (oldest first) from their scores; all zero where no chunk is visible.

    softmax: the paper's text. stick-breaking: exp(s - cumulative softplus(s) from the newest on), which prefers
    recent chunks and sums to at most 1; the default of the published code (RamstorageAI/long-context-modeling).
    """
    seen = scores > -math.inf
    safe = scores.masked_fill(~seen, lowest(scores))  # finite, so that a row without chunks has no NaN gradient
    if fusion == "stick-breaking":
        broken_off = F.softplus(safe).flip(-1).cumsum(-1).flip(-1)
        return torch.exp(safe - broken_off) * seen
    return safe.softmax(dim=-1) * seen
