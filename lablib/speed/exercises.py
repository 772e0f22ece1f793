"""The exercises of notebook 07: kernels that the reader writes, run in Triton's interpreter and looked at from outside.

Every tensor lies inside a larger one (`Guarded`). What a kernel reads beyond it and does not use is seen in the source.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from lablib.core.exercise import Mistake, close, compare, exercise
from lablib.ops.backend import answers

MARGIN = 256  # elements before and behind each tensor
KEPT = 1234.5  # in the margins of an output


class Guarded:
    """A tensor between margins: an input between NaN, an output that is NaN between a number that must stay."""

    def __init__(self, values: Tensor | None = None, shape: tuple[int, ...] = ()):
        shape = torch.Size(shape) if values is None else values.shape
        self.buffer = torch.full((shape.numel() + 2 * MARGIN,), torch.nan)
        self.inner = self.buffer[MARGIN:-MARGIN].view(shape)
        if values is not None:
            self.inner.copy_(values)
        else:
            self.buffer[:MARGIN] = self.buffer[-MARGIN:] = KEPT

    @property
    def untouched_outside(self) -> bool:
        """Whether nothing was written into the margins."""
        return bool((self.buffer[:MARGIN] == KEPT).all() and (self.buffer[-MARGIN:] == KEPT).all())


def check_outputs(
    kernel: Any, grid: int, inputs: list[Tensor], right: Tensor, guesses: dict[str, Tensor], *numbers, **constants
) -> None:
    """Run `kernel(*inputs, output, *numbers, **constants)`; NotImplementedError for a stub, Mistake for a wrong one."""
    if "..." in inspect.getsource(getattr(kernel, "fn", kernel)).split('"""')[-1]:
        raise NotImplementedError
    if not hasattr(kernel, "fn"):
        raise Mistake("That is a plain function. A kernel has `@triton.jit` above it.")
    given, out = [Guarded(x) for x in inputs], Guarded(shape=right.shape)
    kernel[(grid,)](*(x.inner for x in given), out.inner, *numbers, **constants)
    missing, found = int(out.inner.isnan().sum()), out.inner
    if not out.untouched_outside:
        raise Mistake("It writes outside of its output: the last block is not full. Give `tl.store` a mask.")
    if missing == found.numel():
        raise Mistake("Nothing was written into the output. `tl.store(pointer + offsets, values, mask=...)` writes.")
    first, expected = ([round(float(x), 3) for x in values.flatten()[:4]] for values in (found, right))
    said = f"The first numbers are {first}; expected {expected}."
    if missing:
        said = (
            f"{missing} of {found.numel()} numbers are NaN: they were not written, or computed from what lies beyond "
            "the input. Does each load have a mask and a value for the rest (`other`)?"
        )
    compare(found, right, guesses, said, functools.partial(close, tolerance=1e-4))


def check_loads(kernel: Any) -> None:
    """Mistake for a load without a mask where the last block is not full: an illegal address on a GPU, if unlucky."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(kernel, "fn", kernel))))
    loads = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call.func) == "tl.load"]
    if any(len(load.args) < 2 and "mask" not in {word.arg for word in load.keywords} for load in loads):
        raise Mistake("The numbers are right, but it also reads beyond its input. A GPU may not survive: mask loads.")


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=Generator().manual_seed(seed))


@exercise(
    "Exercise 1 (scale a column and add)",
    solution=answers().axpy,
    hint="Which elements are this program's? tl.program_id(0) * BLOCK + tl.arange(0, BLOCK). Mask loads and stores. "
    "Element i of the column lies at x + i * stride.",
)
def check_axpy(kernel: Callable[..., None]) -> None:
    """`kernel(x, y, out, factor, stride, count, BLOCK)`: out = factor * x + y, a program for each block of elements.

    x is the first column of a matrix with `stride` numbers a row.
    """
    stride = 3
    for count in (16, 40, 5):
        matrix, y = randn(count, stride), randn(count, seed=1)
        x, in_a_row = matrix[:, 0], matrix.flatten()[:count]
        right = 3 * x + y
        first = torch.full((count,), torch.nan)
        first[:16] = right[:16]
        guesses = {
            "x is read without its stride: the next element of a column lies `stride` numbers further.":
                3 * in_a_row + y,
            "That is x + y: where is the factor?": x + y,
            "That is factor * x: where is y?": 3 * x,
            "That is factor * (x + y); only x is multiplied.": 3 * (x + y),
            "Every program writes the first block. Which elements are program number `tl.program_id(0)`'s?": first,
        }  # fmt: skip
        check_outputs(kernel, -(-count // 16), [matrix, y], right, guesses, 3.0, stride, count, BLOCK=16)
    check_loads(kernel)


@exercise(
    "Exercise 2 (the log-sum-exp of a row)",
    solution=answers().logsumexp,
    hint="Subtract the largest, add it again. What should a lane behind the row hold, so that its exponential is 0?",
)
def check_logsumexp(kernel: Callable[..., None]) -> None:
    """`kernel(x, out, width, BLOCK)`: out[row] = log(sum(exp(x[row]))), a program each; BLOCK is at least width."""
    for x in (randn(3, 16), randn(4, 11), 200 * randn(2, 13)):
        height, width = x.shape
        padded = torch.cat([x, torch.zeros(height, 16 - width)], 1)
        guesses = {
            "The lanes behind the row count as 0, and exp(0) is 1. Which value adds nothing to a sum of exponentials?":
                padded.logsumexp(-1),
            "exp of several hundred overflows. Subtract the largest of the row first, and add it again in the end.":
                x.exp().sum(-1).log(),
            "That is the sum, without its logarithm.": x.exp().sum(-1),
            "That is the logarithm of the sum less the largest: add the largest again.":
                x.logsumexp(-1) - x.max(-1).values,
        }  # fmt: skip
        check_outputs(kernel, height, [x], x.logsumexp(-1), guesses, width, BLOCK=16)
    check_loads(kernel)


@exercise(
    "Exercise 3 (the gradient of a chunk's weight)",
    solution=answers().weight_gradient,
    hint="A dot product. Slot number p has D numbers, which begin at outputs + p * D.",
)
def check_weight_gradient(kernel: Callable[..., None]) -> None:
    """`kernel(outputs, upstream, out, D)`: out[slot] = <O_slot, dO>, a program each; D is the width."""
    outputs, upstream = randn(4, 16), randn(16, seed=1)
    right = outputs @ upstream
    guesses = {
        "That is the same slot every time. Where does the output of slot `tl.program_id(0)` begin?":
            right[:1].expand(4),
        "That is the sum of the output alone: the upstream gradient says in which direction it counts.":
            outputs.sum(-1),
        "That is the softmax's gradient already; here the weight itself is asked for.": right - right.mean(),
        "That is the mean over the width. A dot product is a sum.": right / 16,
    }  # fmt: skip
    check_outputs(kernel, 4, [outputs, upstream], right, guesses, D=16)
