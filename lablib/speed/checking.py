"""Correct before fast: how far a provider is from the definition, in its output and its gradients."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from lablib.speed.providers import PROVIDERS, Provider, operands
from lablib.speed.work import Mode, Operator, Shape

CHECKED = 300  # tokens of the text on which a provider is checked
FARTHEST = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}  # root mean square of the error over that of the truth


def error_of(
    operator: Operator,
    provider: Provider,
    mode: Mode,
    shape: Shape,
    device: torch.device,
    dtype: torch.dtype,
    seed: int,
) -> float:
    """The largest relative error, against the definition in double precision on a CPU.

    On a short text of the same heads, with short chunks, so that there are more of them than are chosen. Both ways:
    also of the gradients of q, k and v (that of a chunk's weight depends on whether weights are normed again).
    """
    shape = short(shape)
    inputs = operands(operator, shape, device, dtype, seed)
    exact = tuple(x.cpu().double() if x.is_floating_point() else x.cpu() for x in inputs)
    compute, definition = (each.make(shape) for each in (provider, PROVIDERS[operator]["the definition"]))
    if mode == "forward":
        with torch.no_grad():
            if operator == "selection":
                return selection_error(compute(*inputs).cpu(), *exact, shape)
            return relative_error(compute(*inputs), definition(*exact))
    upstream = torch.randn(inputs[0].shape, generator=torch.Generator().manual_seed(seed)).to(dtype)
    found = with_gradients(compute, inputs, upstream.to(device))
    truth = with_gradients(definition, exact, upstream.double())
    return max(relative_error(a, b) for a, b in zip(found, truth, strict=True))


def short(shape: Shape) -> Shape:
    """The same heads on at most `CHECKED` tokens."""
    most = {"time": CHECKED, "window": CHECKED // 3, "chunk": 16, "top_k": 4}
    return shape.replace(**{field: min(getattr(shape, field), limit) for field, limit in most.items()})


def with_gradients(compute: Callable[..., Tensor], inputs: tuple[Tensor, ...], upstream: Tensor) -> list[Tensor]:
    """The output, and the gradients of the first three operands."""
    learnt = [x.detach().requires_grad_() for x in inputs[:3]]
    out = compute(*learnt, *inputs[3:])
    return [out.detach(), *torch.autograd.grad(out, learnt, upstream)]


def selection_error(chosen: Tensor, queries: Tensor, landmarks: Tensor, shape: Shape) -> float:
    """The scores of the chosen against the best there are: which of two equals is chosen does not count."""
    scores = queries @ landmarks.mT
    complete = (torch.arange(scores.shape[-1]) + 1) * shape.chunk <= torch.arange(scores.shape[-2])[:, None]
    scores = scores.masked_fill(~complete, -math.inf)
    best = scores.topk(chosen.shape[-1]).values
    found = scores.gather(-1, chosen.clamp_min(0)).masked_fill(chosen < 0, -math.inf).sort(-1, descending=True).values
    if not torch.equal(found == -math.inf, best == -math.inf):
        return math.inf
    return relative_error(found.masked_fill(found == -math.inf, 0), best.masked_fill(best == -math.inf, 0))


def relative_error(found: Tensor, truth: Tensor) -> float:
    """Root mean square of the difference over that of the truth (at least 0.1)."""
    found = found.detach().cpu().double()
    return float((found - truth).square().mean().sqrt() / truth.square().mean().sqrt().clamp_min(0.1))
