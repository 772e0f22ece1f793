"""FLOPs by operation, where torch's own counter has none or counts by another convention than `count_flops`."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils.flop_counter import sdpa_flop_count

Shape = Sequence[int]
Formula = Callable[..., int]  # of the shapes of the operands, and of `out_shape`

# operations on matrices without a formula: better refused than counted as nothing
UNKNOWN = (
    *("_trilinear", "_cdist_forward", "_fft_r2c", "_fft_c2c", "_fft_c2r", "_int_mm", "mkldnn_rnn_layer", "ormqr"),
    *("linalg_cholesky_ex", "linalg_inv_ex", "linalg_ldl_factor_ex", "linalg_lu", "linalg_lu_factor_ex", "linalg_qr"),
    *("linalg_lu_solve", "_linalg_solve_ex", "linalg_lstsq", "_linalg_det", "_linalg_slogdet", "linalg_pinv"),
    *("_linalg_svd", "_linalg_eigh", "linalg_eig", "linalg_matrix_exp", "triangular_solve", "cholesky_solve"),
)


def formulas() -> dict[Any, Formula]:
    """By torch's operation, as `FlopCounterMode` takes them; those that cannot be counted raise ValueError."""
    aten = torch.ops.aten
    found: dict[Any, Formula] = {getattr(aten, name): _refused(name) for name in UNKNOWN}
    for kind in ("flash_attention_for_cpu", "flash_attention", "efficient_attention", "cudnn_attention"):
        forward, backward = (getattr(aten, f"_scaled_dot_product_{kind}{end}") for end in ("", "_backward"))
        found[forward] = lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v)
        found[backward] = lambda grad, q, k, v, *_, **__: 2 * sdpa_flop_count(q, k, v)
    for name in ("convolution", "_convolution", "cudnn_convolution", "convolution_overrideable"):
        found[getattr(aten, name)] = _convolution
    found[aten.convolution_backward] = _convolution_backward
    # the triangle has n / 2 multiply-adds an equation and right-hand side
    found[aten.linalg_solve_triangular] = lambda matrix, *_, out_shape, **__: matrix[-1] * math.prod(out_shape)
    found[aten.mv] = found[aten.dot] = found[aten.vdot] = lambda matrix, *_, **__: 2 * math.prod(matrix)
    found[aten.addmv] = lambda added, matrix, *_, **__: 2 * math.prod(matrix)
    found[aten.addbmm] = lambda added, one, two, *_, **__: 2 * math.prod(one) * two[-1]
    return found


def _convolution(
    x: Shape, kernel: Shape, bias: Any, stride: Any, padding: Any, dilation: Any, transposed: bool, *_, out_shape: Shape
) -> int:
    """A multiply-add for each weight, which has the channels of its group alone, at each place."""
    return 2 * x[0] * math.prod((x if transposed else out_shape)[2:]) * math.prod(kernel)


def _convolution_backward(grad: Shape, x: Shape, *rest: Any, out_shape: Any) -> int:
    """As much for the gradient of the input as for that of the kernel, of those that are asked for."""
    return sum(rest[-1][:2]) * _convolution(x, *rest, out_shape=grad)


def _refused(name: str) -> Formula:
    def refuse(*_: Any, **__: Any) -> int:
        raise ValueError(f"FLOPs of torch.ops.aten.{name} are not known; give its formula in lablib/core/flops.py")

    return refuse
