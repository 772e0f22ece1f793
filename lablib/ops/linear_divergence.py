"""The divergence of two output maps, without the logits of all tokens: a chunk of tokens at a time.

    loss = sum_n w_n D(softmax(t_n U^T), softmax(h_n V^T)) / sum_n w_n

Logits take tokens x vocabulary numbers, of the teacher and of the student, and twice as many for the gradient. Here the
forward pass computes the gradients for h and V chunk by chunk and keeps these alone; the backward pass multiplies them.
(The chunked loss of Liger-Kernel, arXiv 2410.10989, section 3.2, does the same.) The forward KL has Triton kernels too,
which keep two numbers a token.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from lablib.core.refusals import at_least
from lablib.ops import backend
from lablib.ops.divergences import forward_kl

CHUNK = 256  # tokens
OPERATOR = "distillation loss"
Divergence = Callable[[Tensor, Tensor], Tensor]


def naive_linear_divergence(
    hidden: Float[Tensor, "token width"],
    head: Float[Tensor, "vocab width"],
    teacher_hidden: Float[Tensor, "token its_width"],
    teacher_head: Float[Tensor, "vocab its_width"],
    weight: Float[Tensor, " token"],
    divergence: Divergence = forward_kl,
) -> Float[Tensor, ""]:
    """The definition: all logits at once."""
    return (weight * divergence(teacher_hidden @ teacher_head.mT, hidden @ head.mT)).sum() / weight.sum()


def linear_divergence(
    hidden: Float[Tensor, "token width"],
    head: Float[Tensor, "vocab width"],
    teacher_hidden: Float[Tensor, "token its_width"],
    teacher_head: Float[Tensor, "vocab its_width"],
    weight: Float[Tensor, " token"],
    divergence: Divergence = forward_kl,
    chunk: int = CHUNK,
) -> Float[Tensor, ""]:
    """The same with the logits of `chunk` tokens in memory; gradients for `hidden` and `head`, once.

    The forward KL (also `partial(forward_kl, temperature=...)`) is computed by Triton kernels, in fp32, where
    `lablib/ops/backend.py` says so, and backend "plain" takes the definition. Else a second derivative raises
    RuntimeError (of a kernel NotImplementedError). ValueError for other vocabularies, weights without a sum above 0,
    and what `divergence` refuses.
    """
    at_least(1, chunk=chunk)
    if len(head) != len(teacher_head):
        raise ValueError(
            f"the teacher has {len(teacher_head)} tokens, the student {len(head)}; expected one vocabulary"
        )
    if not bool(weight.sum() > 0):
        raise ValueError("the weights sum to 0 or less; expected at least one prediction that counts")
    teacher_hidden, teacher_head = teacher_hidden.detach(), teacher_head.detach()
    if backend.is_plain():
        return naive_linear_divergence(hidden, head, teacher_hidden, teacher_head, weight.detach(), divergence)
    if backend.kernels_wanted(hidden):
        temperature = _temperature(divergence)
        operands = hidden, head, teacher_hidden, teacher_head, weight
        if temperature is None:
            backend.no_kernel(OPERATOR, "there are kernels for the forward KL alone")
        elif kernel := backend.kernel(OPERATOR, *operands, temperature):
            return kernel.linear_kl(*operands, temperature=temperature)
    share = (weight / weight.sum()).detach()
    return _ChunkByChunk.apply(hidden, head, teacher_hidden, teacher_head, share, divergence, chunk)


def _temperature(divergence: Divergence) -> float | None:
    """That of a forward KL; None for another divergence."""
    if divergence is forward_kl:
        return 1.0
    is_forward = isinstance(divergence, partial) and divergence.func is forward_kl and not divergence.args
    if not is_forward or divergence.keywords.keys() != {"temperature"}:
        return None
    return divergence.keywords["temperature"]


class _ChunkByChunk(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, hidden: Tensor, head: Tensor, its_hidden: Tensor, its_head: Tensor, share: Tensor,
        divergence: Divergence, chunk: int,
    ) -> Tensor:  # fmt: skip
        wanted = ctx.needs_input_grad[:2]
        to_hidden = torch.empty_like(hidden) if wanted[0] else None
        to_head = torch.zeros_like(head) if wanted[1] else None
        total, own_head = hidden.new_zeros(()), head.detach()
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            with torch.enable_grad():
                logits = (hidden[part].detach() @ own_head.mT).requires_grad_(any(wanted))
                loss = (share[part] * divergence(its_hidden[part] @ its_head.mT, logits)).sum()
            total += loss.detach()
            if any(wanted):
                (to_logits,) = torch.autograd.grad(loss, logits)
                if to_hidden is not None:
                    torch.mm(to_logits, own_head, out=to_hidden[part])
                if to_head is not None:
                    to_head.addmm_(to_logits.mT, hidden[part].detach())
        ctx.save_for_backward(*(each for each in (to_hidden, to_head) if each is not None))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        kept = iter(ctx.saved_tensors)
        return *(above * next(kept) if need else None for need in ctx.needs_input_grad[:2]), *[None] * 5
