"""The exercises of notebook 07: the solution passes, a stub is not attempted, the usual mistakes are named."""

import pytest
import torch
import triton
import triton.language as tl

from lablib.core.exercise import Mistake, solution_source
from lablib.speed import exercises


@triton.jit
def axpy_stub(x, y, out, factor, stride, count, BLOCK: tl.constexpr): ...  # your code in place of the dots


@triton.jit
def axpy_without_masks(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + o, factor * tl.load(x + o * stride) + tl.load(y + o))


@triton.jit
def axpy_that_loads_without_masks(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + o, factor * tl.load(x + o * stride) + tl.load(y + o), mask=o < count)


@triton.jit
def axpy_of_the_first_block(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    o = tl.arange(0, BLOCK)
    inside = o < count
    b_x, b_y = tl.load(x + o * stride, mask=inside, other=0.0), tl.load(y + o, mask=inside, other=0.0)
    tl.store(out + o, factor * b_x + b_y, mask=inside)


@triton.jit
def axpy_without_factor(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b_x, b_y = tl.load(x + o * stride, mask=o < count, other=0.0), tl.load(y + o, mask=o < count, other=0.0)
    tl.store(out + o, b_x + b_y, mask=o < count)


@triton.jit
def axpy_without_stride(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    b_x, b_y = tl.load(x + o, mask=o < count, other=0.0), tl.load(y + o, mask=o < count, other=0.0)
    tl.store(out + o, factor * b_x + b_y, mask=o < count)


@triton.jit
def axpy_that_writes_nothing(x, y, out, factor, stride, count, BLOCK: tl.constexpr):
    o = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.load(x + o * stride, mask=o < count, other=0.0)


@triton.jit
def logsumexp_of_zeros(x, out, width, BLOCK: tl.constexpr):
    row, o = tl.program_id(0), tl.arange(0, BLOCK)
    b_x = tl.load(x + row * width + o, mask=o < width, other=0.0)
    largest = tl.max(b_x, 0)
    tl.store(out + row, largest + tl.log(tl.sum(tl.exp(b_x - largest), 0)))


@triton.jit
def logsumexp_that_overflows(x, out, width, BLOCK: tl.constexpr):
    row, o = tl.program_id(0), tl.arange(0, BLOCK)
    b_x = tl.load(x + row * width + o, mask=o < width, other=float("-inf"))
    tl.store(out + row, tl.log(tl.sum(tl.exp(b_x), 0)))


@triton.jit
def logsumexp_beyond_the_row(x, out, width, BLOCK: tl.constexpr):
    row, o = tl.program_id(0), tl.arange(0, BLOCK)
    b_x = tl.load(x + row * width + o)
    largest = tl.max(b_x, 0)
    tl.store(out + row, largest + tl.log(tl.sum(tl.exp(b_x - largest), 0)))


@triton.jit
def weight_gradient_of_the_first(outputs, upstream, out, D: tl.constexpr):
    slot, o = tl.program_id(0), tl.arange(0, D)
    tl.store(out + slot, tl.sum(tl.load(outputs + o) * tl.load(upstream + o), 0))


CHECKS = ["check_axpy", "check_logsumexp", "check_weight_gradient"]
MISTAKES = {
    "the last block is not full": ("check_axpy", axpy_without_masks),
    "also reads beyond its input": ("check_axpy", axpy_that_loads_without_masks),
    "Every program writes the first block": ("check_axpy", axpy_of_the_first_block),
    "without its stride": ("check_axpy", axpy_without_stride),
    "where is the factor": ("check_axpy", axpy_without_factor),
    "Nothing was written": ("check_axpy", axpy_that_writes_nothing),
    "a plain function": ("check_axpy", lambda x, y, out, factor, stride, count, BLOCK: None),
    "count as 0": ("check_logsumexp", logsumexp_of_zeros),
    "overflows": ("check_logsumexp", logsumexp_that_overflows),
    "NaN: they were not written, or computed from what lies beyond": ("check_logsumexp", logsumexp_beyond_the_row),
    "the same slot every time": ("check_weight_gradient", weight_gradient_of_the_first),
}


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes_and_can_be_shown(name):
    check = getattr(exercises, name)
    check.strict(check.solution)
    assert solution_source(check).startswith("@triton.jit\ndef ")


def test_a_stub_is_not_attempted(capsys):
    exercises.check_axpy(axpy_stub)
    assert capsys.readouterr().out == "Exercise 1 (scale a column and add): not attempted\n"


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("said", "case"), MISTAKES.items(), ids=MISTAKES.keys())
def test_a_mistake_is_named(said, case):
    name, kernel = case
    with pytest.raises(Mistake, match=said):
        getattr(exercises, name).strict(kernel)


def test_an_output_between_its_margins():
    guarded = exercises.Guarded(shape=(3,))
    assert guarded.inner.isnan().all()
    assert guarded.untouched_outside
    guarded.buffer[-exercises.MARGIN] = torch.nan
    assert not guarded.untouched_outside
    assert exercises.Guarded(torch.ones(3)).buffer.isnan().sum() == 2 * exercises.MARGIN
