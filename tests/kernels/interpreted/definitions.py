"""What the kernels compute, by definition and in double precision, and how far from it they may be."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FARTHEST = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 2e-3}


def pairwise(factors: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Few cases in which any two values of different factors meet: the case with most new pairs, until none is left."""
    cases = [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]
    left, chosen = set().union(*map(pairs_of, cases)), []
    while left:
        best = max(cases, key=lambda case: len(left & pairs_of(case)))
        chosen.append(best)
        left -= pairs_of(best)
    return chosen


def pairs_of(case: Mapping[str, Any]) -> set[tuple]:
    return set(itertools.combinations(case.items(), 2))


def window_attention(q: Tensor, k: Tensor, v: Tensor, window: int, sinks: int = 0) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of causal attention to the last `window` positions and the first ones, matrix and all."""
    k, v = (x.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for x in (k, v))
    i = torch.arange(q.shape[2])
    seen = (i <= i[:, None]) & ((i > i[:, None] - window) | (i < sinks))
    logits = (q @ k.mT / math.sqrt(q.shape[-1])).masked_fill(~seen, -math.inf)
    return logits.softmax(-1) @ v, logits.logsumexp(-1)


def chosen_attention(q: Tensor, k: Tensor, v: Tensor, chunks: Tensor, weights: Tensor) -> Tensor:
    """Sum over slots of weight times a softmax inside the chunk; -1 adds nothing."""
    inside = torch.einsum("bhgtd,bhcsd->bhgtcs", q, k / math.sqrt(q.shape[-1])).softmax(-1)
    read = torch.einsum("bhgtcs,bhcsd->bhgtcd", inside, v)
    slots = chunks.clamp_min(0).long()[:, :, None, :, :, None].expand(*q.shape[:4], chunks.shape[-1], v.shape[-1])
    shares = torch.where(chunks >= 0, weights, 0.0)
    return torch.einsum("bhgtkd,bhtk->bhgtd", read.gather(4, slots), shares)


def errors(
    kernel: Callable[..., Tensor], truth: Callable[..., Tensor], inputs: Sequence[Tensor], seed: int = 0
) -> list[float]:
    """Relative errors of the output and of the gradient of each input, against double precision."""
    mine = [x.detach().requires_grad_() for x in inputs]
    exact = [x.detach().double().requires_grad_() for x in inputs]
    out, right = kernel(*mine), truth(*exact)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    found = (out, *torch.autograd.grad(out, mine, upstream.to(out.dtype)))
    expected = (right, *torch.autograd.grad(right, exact, upstream))
    return [relative_error(a, b) for a, b in zip(found, expected, strict=True)]


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth (at least 0.1); infinite for a NaN."""
    found, truth = found.detach().double(), truth.detach().double()
    if not found.isfinite().all():
        return math.inf
    return float((found - truth).square().mean().sqrt() / truth.square().mean().sqrt().clamp_min(0.1))
