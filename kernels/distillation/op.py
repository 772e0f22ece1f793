"""`linear_kl`: how far a student's next tokens are from its teacher's, by Triton kernels, without logits in memory.

Layout: hidden (tokens, width), head (vocab, width), teacher_hidden (tokens, its_width), teacher_head (vocab,
its_width), weight (tokens).
"""

import math

import torch
import torch.nn.functional as F
import triton
from torch import Tensor

from labkernels.distillation.backward import distillation_bwd_dh_kernel, distillation_bwd_dv_kernel
from labkernels.distillation.forward import distillation_fwd_kernel
from labkernels.once import once
from labkernels.runtime import LOG2_E, Tiles, accumulator, check_operands, on_device, programs, wide

NAME = "distillation loss"
WIDEST = 1024  # of a student: each further block of its width computes all logits again
STEP = 64  # of a width: what a product of logits takes at a time
# tokens and vocabulary to a tile; backward by the block of the width that a program has
FORWARD = Tiles(128, 128, warps=8, stages=3)
FOR_DH = {64: Tiles(128, 64, warps=8), 128: Tiles(128, 64, warps=8), 256: Tiles(64, 64, warps=8)}
FOR_DV = {64: Tiles(64, 128, warps=8), 128: Tiles(64, 128, warps=8), 256: Tiles(64, 64, warps=8)}


def linear_kl(
    hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, weight: Tensor, *,
    temperature: float = 1.0,
) -> Tensor:  # fmt: skip
    """T^2 KL(teacher || student) in nats, the mean by weight over tokens: one number in fp32 (fp64 for fp64).

    p and q are softmax(logits / T) with logits hidden head^T. Differentiable once, in `hidden` and `head`; teacher and
    weights are constants. Raises ValueError for operands that the kernels cannot take, and says which backend can.
    """
    check(hidden, head, teacher_hidden, teacher_head, weight, temperature)
    if not bool(weight.sum() > 0):
        raise ValueError(f"{NAME}: the weights sum to 0 or less; expected at least one prediction that counts")
    weight = weight.detach().to(wide(hidden.dtype))
    matrices = (aligned(x) for x in (hidden, head, teacher_hidden.detach(), teacher_head.detach()))
    return DistillationLoss.apply(*matrices, weight, float(temperature))[0]


def check(
    hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, weight: Tensor, temperature: float = 1.0
) -> None:
    """ValueError, with the reason, for operands that the kernels cannot take."""
    check_operands(NAME, hidden=hidden, head=head, teacher_hidden=teacher_hidden, teacher_head=teacher_head)
    if weight.device != hidden.device or not weight.is_floating_point():
        came = f"weight is {weight.dtype} on {weight.device}, hidden on {hidden.device}"
        raise ValueError(f"{NAME}: {came}; expected floating-point weights on the same device")
    check_shapes(hidden, head, teacher_hidden, teacher_head, weight)
    if not 0 < temperature < math.inf:
        raise ValueError(f"{NAME}: temperature is {temperature}; expected a finite number above 0")


def check_shapes(hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, weight: Tensor) -> None:
    """ValueError for shapes that do not fit, or that the kernels are not made for."""
    shapes = {
        "hidden": hidden.shape, "head": head.shape, "teacher_hidden": teacher_hidden.shape,
        "teacher_head": teacher_head.shape, "weight": weight.shape,
    }  # fmt: skip
    came = ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
    if [len(shape) for shape in shapes.values()] != [2, 2, 2, 2, 1]:
        raise ValueError(f"{NAME}: {came}; expected matrices of a row a token or a vocabulary entry, a weight a token")
    if not len(hidden) == len(teacher_hidden) == len(weight):
        raise ValueError(f"{NAME}: {came}; expected as many tokens in hidden, teacher_hidden and weight")
    if len(head) != len(teacher_head):
        raise ValueError(
            f"{NAME}: the teacher has {len(teacher_head)} tokens, the student {len(head)}; expected one vocabulary"
        )
    if hidden.shape[1] != head.shape[1] or teacher_hidden.shape[1] != teacher_head.shape[1]:
        raise ValueError(f"{NAME}: {came}; expected a head as wide as its hidden states")
    if min(size for shape in shapes.values() for size in shape) < 1:
        raise ValueError(f"{NAME}: {came}; expected no empty axis. Backend 'torch' can")
    if head.shape[1] > WIDEST:
        raise ValueError(
            f"{NAME}: the student is {head.shape[1]} wide; the kernels take up to {WIDEST} (wider, they compute the "
            "same logits too often). Backend 'torch' can"
        )


class DistillationLoss(torch.autograd.Function):
    """Forward and first derivative; the second raises."""

    @staticmethod
    def forward(
        hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, weight: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        with on_device(hidden):
            kl, lse_s, lse_t = forward(hidden, head, teacher_hidden, teacher_head, temperature)
        return temperature**2 * (kl * weight).sum() / weight.sum(), lse_s, lse_t

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        *operands, ctx.temperature = inputs
        ctx.save_for_backward(*operands, *output[1:])
        ctx.mark_non_differentiable(*output[1:])

    @staticmethod
    def backward(ctx, above: Tensor, *_):
        hidden, head, *teacher, weight, lse_s, lse_t = ctx.saved_tensors
        with torch.no_grad(), on_device(hidden):
            largest = weight.abs().max()
            unit = above * ctx.temperature * largest / weight.sum()
            gradients = backward(
                hidden, head, *teacher, lse_s, lse_t, weight / largest, unit, ctx.temperature, ctx.needs_input_grad[:2]
            )
        return *(once(gradient, hidden, head, above) for gradient in gradients), None, None, None, None


def forward(
    hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each token the KL divergence in nats, and the log-sum-exps in bits, of student and teacher."""
    operands = hidden, head, teacher_hidden, teacher_head
    tokens, vocab = len(hidden), len(head)
    kl, lse_s, lse_t = (torch.empty(tokens, device=hidden.device, dtype=wide(hidden.dtype)) for _ in range(3))
    tiles = fitting(FORWARD, tokens, vocab)
    distillation_fwd_kernel[(programs(tokens, tiles.queries),)](
        *operands, kl, lse_s, lse_t, *_sizes(operands), LOG2_E / temperature,
        M=tiles.queries, N=tiles.keys, K=_step(operands), ACC=accumulator(hidden.dtype),
        num_warps=tiles.warps, num_stages=tiles.stages,
    )  # fmt: skip
    return kl, lse_s, lse_t


def backward(
    hidden: Tensor, head: Tensor, teacher_hidden: Tensor, teacher_head: Tensor, lse_s: Tensor, lse_t: Tensor,
    factor: Tensor, unit: Tensor, temperature: float, wanted: tuple[bool, bool] = (True, True),
) -> tuple[Tensor | None, Tensor | None]:  # fmt: skip
    """Gradients of hidden and head, each None if not wanted; for `factor` and `unit` see backward.py."""
    operands = hidden, head, teacher_hidden, teacher_head
    own_block = block(hidden.shape[1], max(FOR_DH))
    numbers = lse_s, lse_t, factor.contiguous(), unit
    kinds = (
        (distillation_bwd_dh_kernel, FOR_DH, "queries", hidden),
        (distillation_bwd_dv_kernel, FOR_DV, "keys", head),
    )
    found: list[Tensor | None] = [None, None]
    for i, (kernel, choices, own, like) in enumerate(kinds):
        if not wanted[i]:
            continue
        gradient = torch.empty_like(like, memory_format=torch.contiguous_format)
        tiles = fitting(choices[max(own_block, 64)], len(hidden), len(head))
        kernel[(programs(len(like), getattr(tiles, own)), programs(like.shape[1], own_block))](
            *operands, *numbers, gradient, *_sizes(operands), gradient.stride(0), LOG2_E / temperature,
            M=tiles.queries, N=tiles.keys, K=_step(operands), D=own_block, ACC=accumulator(hidden.dtype),
            num_warps=tiles.warps, num_stages=tiles.stages,
        )  # fmt: skip
        found[i] = gradient
    return tuple(found)


def aligned(matrix: Tensor) -> Tensor:
    """With rows of a multiple of 16 numbers, by zeros, and as far apart; programs that read other rows spill."""
    if matrix.shape[1] % 16:
        return F.pad(matrix, (0, -matrix.shape[1] % 16))
    return matrix if matrix.stride(1) == 1 and matrix.stride(0) % 16 == 0 else matrix.contiguous()


def fitting(tiles: Tiles, tokens: int, vocab: int) -> Tiles:
    """The tiles, cut down where there are fewer tokens or a smaller vocabulary."""
    most = [max(16, triton.next_power_of_2(size)) for size in (tokens, vocab)]
    return tiles._replace(queries=min(tiles.queries, most[0]), keys=min(tiles.keys, most[1]))


def block(width: int, most: int) -> int:
    """How much of a width to take at a time: at most so much, and not much more than there is."""
    return max(16, min(most, triton.next_power_of_2(width)))


def _step(operands: tuple[Tensor, ...]) -> int:
    return block(max(x.shape[1] for x in operands), STEP)


def _sizes(operands: tuple[Tensor, ...]) -> tuple[int, ...]:
    """Tokens, vocabulary, the two widths; the stride of each operand's rows."""
    hidden, head, teacher_hidden, _ = operands
    return len(hidden), len(head), hidden.shape[1], teacher_hidden.shape[1], *(x.stride(0) for x in operands)
