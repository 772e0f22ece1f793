"""The puzzles of notebook 07: the solution passes, a stub is not attempted, the usual mistakes are named."""

import importlib.util
import inspect
import itertools

import pytest
import torch
import triton
import triton.language as tl

from labkernels.lessons import answers
from lablib.core.exercise import Mistake, solution_source
from lablib.speed import exercises, lanes, puzzles

LADDER = (
    "axpy", "outer_sum", "row_sum", "logsumexp", "long_logsumexp", "scores_of_a_tile", "product", "attention_kernel",
    "band", "sinks",
)  # fmt: skip
CHECKS = [f"check_{name}" for name in LADDER]
# what is said, by the kernel and what is changed in its solution
MISTAKES = {
    "the last block is not full": ("axpy", "b_y, mask=inside)", "b_y)"),
    "also reads beyond x": ("axpy", "o * stride, mask=inside, other=0.0)", "o * stride)"),
    "Every program writes the first block": ("axpy", "tl.program_id(0) * BLOCK + ", ""),
    "without its stride": ("axpy", "x + o * stride", "x + o"),
    "where is the factor": ("axpy", "factor * b_x", "b_x"),
    "which axis is x on": ("outer_sum", "b_x[:, None] + b_y[None, :]", "b_x[None, :] + b_y[:, None]"),
    "the first block of each row": ("row_sum", "range(0, width, BLOCK)", "range(0, BLOCK, BLOCK)"),
    "the first row every time": ("row_sum", "x + row * width", "x"),
    "count as 0": ("logsumexp", 'other=float("-inf")', "other=0.0"),
    "overflows": ("logsumexp", "largest = tl.max(b_x, 0)", "largest = 0.0"),
    "numbers are NaN. They come from what lies beyond": ("logsumexp", ', mask=o < width, other=float("-inf")', ""),
    "no `other`": ("row_sum", ", other=0.0", ""),
    "numbers are not written, the first of them is number 1": ("row_sum", "out + row", "out"),
    "the last block alone": ("long_logsumexp", "total * tl.exp(largest - higher) + ", ""),
    "the old sum must shrink: multiply": ("long_logsumexp", "total * tl.exp(largest - higher)", "total"),
    "one walk is enough": (
        "long_logsumexp",
        "largest, total = tl.program_id(0), -1e30, 0.0",
        "largest, total = tl.program_id(0), tl.max(tl.load(x + tl.program_id(0) * width + tl.arange(0, 64), "
        'mask=tl.arange(0, 64) < width, other=float("-inf")), 0), 0.0',
    ),
    "is not divided by the sum": ("attention_kernel", "b_o / total[:, None]", "b_o"),
    "NaN. They come": (
        "band",
        "* scale, -1e30)",
        '* scale, float("-inf"))',
        "-1e30, tl.float32",
        'float("-inf"), tl.float32',
    ),
    "Row 32 is the first that is wrong": ("band", "m0 - window + 1, 0) // N", "m0 - window + 2, 0) // N"),
    "The future is not hidden": ("scores_of_a_tile", 'tl.where(j <= i, b_s, float("-inf"))', "b_s"),
    "The past is hidden": ("scores_of_a_tile", "j <= i", "i <= j"),
    "The scale is missing": ("scores_of_a_tile", " * scale", ""),
    "the first step alone": ("product", "range(0, inner, K)", "range(0, K, K)"),
    "A query does not read itself": ("attention_kernel", "j <= i,", "(j < i) | (j + i == 0),"),
    "attention without a window": (
        "band",
        " & (j > i - window)",
        "",
        "tl.maximum(m0 - window + 1, 0) // N * N",
        "0",
    ),
    "one key too wide": ("band", "j > i - window", "j >= i - window"),
    "in a tile that none of its queries reads": ("band", "tl.maximum(m0 - window + 1, 0) // N * N", "0"),
    "the band alone": ("sinks", " | (j < kept)", ""),
}


@pytest.fixture
def planted(tmp_path):
    """The solution of a puzzle with changes, from a file of its own: Triton reads the source."""
    numbers = itertools.count()

    def change(name, *changes):
        source = inspect.getsource(getattr(answers, name).fn)
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in source
            source = source.replace(old, new)
        path = tmp_path / f"planted_{next(numbers)}.py"
        path.write_text("import triton\nimport triton.language as tl\n\n\n" + source)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)

    return change


@triton.jit
def stub(x, y, out, factor, stride, count, BLOCK: tl.constexpr): ...  # your code in place of the dots


@pytest.mark.parametrize("name", CHECKS)
def test_the_solution_passes_and_can_be_shown(name):
    check = getattr(exercises, name)
    check.strict(check.solution)
    assert solution_source(check).startswith("@triton.jit\ndef ")


def test_the_ladder_is_all_there_is():
    assert {name for name in vars(exercises) if name.startswith("check_")} - {"check_kernel"} == set(CHECKS)


def test_a_stub_is_not_attempted(capsys):
    exercises.check_axpy(stub)
    assert capsys.readouterr().out == "Puzzle 1 (scale a column and add): not attempted\n"


def test_a_plain_function_is_no_kernel():
    with pytest.raises(Mistake, match="a plain function"):
        exercises.check_axpy.strict(lambda x, y, out, factor, stride, count, BLOCK: None)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("said", "case"), MISTAKES.items(), ids=MISTAKES.keys())
def test_a_mistake_is_named(said, case, planted):
    with pytest.raises(Mistake, match=said):
        getattr(exercises, f"check_{case[0]}").strict(planted(*case))


def test_the_picture_shows_who_touched_what(planted):
    """Three programs of four lanes over ten numbers; and one that reads and writes beyond them."""
    kernels = answers.axpy, planted("axpy", "inside = o < count", "inside = o < count + 1")
    for kernel, beyond in zip(kernels, (lanes.NOTHING, lanes.OUTSIDE), strict=True):
        given = {name: puzzles.Guarded(puzzles.randn(10)).inner for name in ("x", "y", "out")}
        with lanes.recorded() as seen:
            kernel[(3,)](*given.values(), 1.0, 1, 10, BLOCK=4)
        for name, kind in (("x", lanes.READ), ("out", lanes.WRITTEN)):
            cells = lanes.touched(seen, given[name], puzzles.MARGIN)
            inner = cells[:, lanes.AROUND : -lanes.AROUND]
            owner = torch.arange(10) // 4
            assert (torch.from_numpy(inner) == kind * (owner == torch.arange(3)[:, None])).all()
            assert (cells[2, -lanes.AROUND :] == beyond).all()
            assert (cells[:, : lanes.AROUND] == lanes.NOTHING).all()
        assert len(lanes.lanes_figure(seen, given, puzzles.MARGIN).data) == 3


def test_nothing_is_recorded_after_the_recording(planted):
    given = [puzzles.randn(10) for _ in range(3)]
    with lanes.recorded() as seen:
        pass
    answers.axpy[(3,)](*given, 1.0, 1, 10, BLOCK=4)
    assert seen == []


def test_an_output_between_its_margins():
    guarded = puzzles.Guarded(shape=(3,))
    assert guarded.inner.isnan().all()
    assert guarded.untouched_outside
    guarded.buffer[-puzzles.MARGIN] = torch.nan
    assert not guarded.untouched_outside
    assert puzzles.Guarded(torch.ones(3)).buffer.isnan().sum() == 2 * puzzles.MARGIN
