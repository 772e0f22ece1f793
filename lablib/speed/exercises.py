"""The puzzles of notebook 07: ten kernels, from adding two vectors to the band with attention sinks.

Each check runs the reader's kernel in Triton's interpreter, draws which lanes were read and written, and guesses the
mistake.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from lablib.core.exercise import Mistake, exercise
from lablib.ops.attention import attention_reference, window_mask
from lablib.ops.backend import answers
from lablib.speed.puzzles import Touched, check_kernel, randn

Kernel = Callable[..., None]
DIM = 16  # of a head


@exercise(
    "Puzzle 1 (scale a column and add)",
    solution=answers().axpy,
    hint="Which elements are this program's? tl.program_id(0) * BLOCK + tl.arange(0, BLOCK). Mask loads and stores. "
    "Element i of the column lies at x + i * stride.",
)
def check_axpy(kernel: Kernel) -> None:
    """`kernel(x, y, out, factor, stride, count, BLOCK)`: out = factor * x + y, a program for each block of elements.

    x is the first column of a matrix with `stride` numbers a row.
    """
    stride = 3
    for count in (40, 16, 5):
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
        given = {"x": matrix, "y": y}
        check_kernel(kernel, (-(-count // 16),), given, right, guesses, 3.0, stride, count, draw=count == 40, BLOCK=16)


@exercise(
    "Puzzle 2 (a table of sums)",
    solution=answers().outer_sum,
    hint="Rows are i[:, None], columns j[None, :]; together they make a tile. Element (i, j) lies at i * columns + j.",
)
def check_outer_sum(kernel: Kernel) -> None:
    """`kernel(x, y, out, rows, columns, M, N)`: out[i, j] = x[i] + y[j], a program a tile of M rows and N columns."""
    for rows, columns in ((8, 8), (10, 13)):
        x, y = randn(rows), randn(columns, seed=1)
        right = x[:, None] + y
        guesses = {"That is x[j] + y[i] where both fit: which axis is x on?": y[:, None] + x} if rows == columns else {}
        grid = (-(-rows // 8), -(-columns // 8))
        check_kernel(kernel, grid, {"x": x, "y": y}, right, guesses, rows, columns, draw=rows == 10, M=8, N=8)


@exercise(
    "Puzzle 3 (the sum of a long row)",
    solution=answers().row_sum,
    hint="for first in range(0, width, BLOCK): each step adds a block of lanes. tl.sum(lanes, 0) comes at the end.",
)
def check_row_sum(kernel: Kernel) -> None:
    """`kernel(x, out, width, BLOCK)`: out[row] = sum(x[row]), a program a row; a row may be longer than BLOCK."""
    for height, width in ((2, 40), (3, 16)):
        x = randn(height, width)
        guesses = {
            "That is the first block of each row. A row may be longer: walk over its blocks.": x[:, :16].sum(1),
            "That is the first row every time. Where does row `tl.program_id(0)` begin?": x[:1].sum(1).expand(height),
            "That is the mean.": x.mean(1),
        }
        check_kernel(kernel, (height,), {"x": x}, x.sum(1), guesses, width, draw=width == 40, BLOCK=16)


def _logsumexp(kernel: Kernel, width_of_block: int, drawn: int, sizes: tuple[Tensor, ...], once: bool = False) -> None:
    for x in sizes:
        height, width = x.shape
        padded = torch.cat([x, torch.zeros(height, -width % 16)], 1)
        guesses = {
            "The lanes behind the row count as 0, and exp(0) is 1. Which value adds nothing to a sum of exponentials?":
                padded.logsumexp(-1),
            "exp of several hundred overflows. Subtract the largest of the row first, and add it again in the end.":
                x.exp().sum(-1).log(),
            "That is the sum, without its logarithm.": x.exp().sum(-1),
            "That is the logarithm of the sum less the largest: add the largest again.":
                x.logsumexp(-1) - x.max(-1).values,
            "That is the last block alone: when a block raises the largest number, the old sum must shrink, not go.":
                x[:, width - (width % 16 or 16):].logsumexp(-1),
            "When a block raises the largest number, the old sum must shrink: multiply it by exp(old - new largest).":
                _without_shrinking(x),
        }  # fmt: skip
        right = x.logsumexp(-1)
        touched = check_kernel(
            kernel, (height,), {"x": x}, right, guesses, width, draw=width == drawn, BLOCK=width_of_block
        )
        if once and touched.times_read("x") > 1:
            raise Mistake("The numbers are right, but each of them is read more than once: one walk is enough.")


def _without_shrinking(x: Tensor) -> Tensor:
    total, largest = torch.zeros(len(x)), torch.full((len(x),), -torch.inf)
    for block in x.split(16, dim=1):
        largest = torch.maximum(largest, block.max(1).values)
        total = total + (block - largest[:, None]).exp().sum(1)
    return largest + total.log()


@exercise(
    "Puzzle 4 (the log-sum-exp of a row)",
    solution=answers().logsumexp,
    hint="Subtract the largest, add it again. What should a lane behind the row hold, so that its exponential is 0?",
)
def check_logsumexp(kernel: Kernel) -> None:
    """`kernel(x, out, width, BLOCK)`: out[row] = log(sum(exp(x[row]))), a program each; BLOCK is at least width."""
    _logsumexp(kernel, 16, 11, (randn(4, 11), randn(3, 16), 200 * randn(2, 13), -200 - randn(2, 9).abs()))


@exercise(
    "Puzzle 5 (the log-sum-exp of a long row, in one walk)",
    solution=answers().long_logsumexp,
    hint="Keep the largest number so far and the sum. Where a block raises the largest, multiply the sum by "
    "exp(old largest - new largest).",
)
def check_long_logsumexp(kernel: Kernel) -> None:
    """`kernel(x, out, width, BLOCK)`: the same for rows longer than BLOCK, each number read once."""
    _logsumexp(kernel, 16, 40, (randn(3, 40), randn(2, 16), 200 * randn(2, 50), -200 - randn(2, 23).abs()), once=True)


@exercise(
    "Puzzle 6 (the scores of one tile)",
    solution=answers().scores_of_a_tile,
    hint="Load q and k as tiles (M, D). tl.dot(q, tl.trans(k)) has the scores; tl.where(j <= i, scores, -inf) hides.",
)
def check_scores_of_a_tile(kernel: Kernel) -> None:
    """`kernel(q, k, out, time, scale, M, D)`: out[i, j] = scale * <q_i, k_j> where j <= i, else -inf; one program."""
    for time in (11, 16):
        q, k = randn(time, DIM), randn(time, DIM, seed=1)
        scores, hidden = q @ k.T / 4, window_mask(time, time)
        guesses = {
            "The future is not hidden: a query reads keys j <= i.": scores,
            "The past is hidden, and the future is not: i is the row, j the column.":
                scores.masked_fill(~hidden.T, -torch.inf),
            "The scale is missing.": (4 * scores).masked_fill(~hidden, -torch.inf),
        }  # fmt: skip
        right = scores.masked_fill(~hidden, -torch.inf)
        check_kernel(kernel, (1,), {"q": q, "k": k}, right, guesses, time, 0.25, draw=time == 11, M=16, D=DIM)


@exercise(
    "Puzzle 7 (a product in tiles)",
    solution=answers().product,
    hint="Keep a tile (M, N) of sums. Each step loads (M, K) of a and (K, N) of b and adds tl.dot of both.",
)
def check_product(kernel: Kernel) -> None:
    """`kernel(a, b, out, rows, columns, inner, M, N, K)`: a @ b, a program a tile of M rows and N columns."""
    for rows, inner, columns in ((20, 40, 17), (16, 16, 16)):
        a, b = randn(rows, inner), randn(inner, columns, seed=1)
        guesses = {"That is the first step alone: walk over the inner axis, K at a time.": a[:, :16] @ b[:16]}
        grid, sizes = (-(-rows // 16), -(-columns // 16)), {"M": 16, "N": 16, "K": 16}
        check_kernel(kernel, grid, {"a": a, "b": b}, a @ b, guesses, rows, columns, inner, draw=inner == 40, **sizes)


class Case(NamedTuple):
    """Sizes of a run: tokens, queries and keys of a tile, and the numbers behind `time` (window, sinks)."""

    time: int
    queries: int
    keys: int
    numbers: tuple[int, ...] = ()


def _attention(kernel: Kernel, case: Case, mask: Tensor, guesses: dict[str, Tensor], draw: bool) -> None:
    """Run a kernel of attention on one head; guesses are masks."""
    q, k, v = (randn(case.time, DIM, seed=seed) for seed in range(3))
    by = lambda seen: attention_reference(q[None, None], k[None, None], v[None, None], seen)[0, 0]  # noqa: E731
    outputs = {said: by(other) for said, other in guesses.items()}
    scores = (q @ k.T / DIM**0.5).masked_fill(~mask, -torch.inf)
    outputs |= {
        "The sum of values is not divided by the sum of exponentials (or by another one).":
            (scores - scores.max(1, keepdim=True).values).exp() @ v,
        "The scale is missing.": (q @ k.T).masked_fill(~mask, -torch.inf).softmax(-1) @ v,
    }  # fmt: skip
    grid, sizes = (-(-case.time // case.queries),), {"M": case.queries, "N": case.keys, "D": DIM}
    given, numbers = {"q": q, "k": k, "v": v}, (case.time, *case.numbers, DIM**-0.5)
    touched = check_kernel(kernel, grid, given, by(mask), outputs, *numbers, draw=draw, **sizes)
    _no_tile_in_vain(touched, mask, case)


def _no_tile_in_vain(touched: Touched, mask: Tensor, case: Case) -> None:
    for program, rows in enumerate(touched.rows_read("k")):
        seen = mask[program * case.queries : (program + 1) * case.queries].any(0)
        tile = lambda row: slice(row // case.keys * case.keys, (row // case.keys + 1) * case.keys)  # noqa: E731
        if vain := [row for row in sorted(rows) if not seen[tile(row)].any()]:
            raise Mistake(
                f"The numbers are right, but program {program} reads key {vain[0]}, in a tile that none of its queries "
                "reads. Skip such tiles: skipping is what makes it fast."
            )


CAUSAL = "That is attention without a window: hide keys j <= i - window."


@exercise(
    "Puzzle 8 (causal attention without its matrix)",
    solution=answers().attention_kernel,
    hint="Puzzle 5 for each query, and a row of sums more: o shrinks like the sum of exponentials. Last o / sum.",
)
def check_attention_kernel(kernel: Kernel) -> None:
    """`kernel(q, k, v, out, time, scale, M, N, D)`: one head, all (time, D); a program a tile of M queries."""
    for case in (Case(72, 16, 16), Case(50, 32, 16)):
        everything = window_mask(case.time, case.time)
        itself = everything & ~torch.eye(case.time, dtype=torch.bool)
        itself[0, 0] = True  # the first query has nobody else
        guesses = {
            "The future is not hidden: a query reads keys j <= i.": torch.ones_like(everything),
            "A query does not read itself here: j <= i, not j < i.": itself,
        }
        _attention(kernel, case, everything, guesses, draw=case.time == 72)


@exercise(
    "Puzzle 9 (the band)",
    solution=answers().band,
    hint="The first query of a program is m0; its first key is m0 - window + 1. Begin at the tile that holds it. "
    "A tile may be empty for some queries: exp(-inf - -inf) is NaN.",
)
def check_band(kernel: Kernel) -> None:
    """`kernel(q, k, v, out, time, window, scale, M, N, D)`: query i reads i - window < j <= i; no tile in vain."""
    sizes = ((72, 16, 16, 9), (72, 16, 16, 16), (90, 16, 16, 40), (90, 32, 16, 17), (90, 32, 16, 18))
    for *size, window in sizes:
        case = Case(*size, (window,))
        time = case.time
        guesses = {
            CAUSAL: window_mask(time, time),
            "The window is one key too wide: j > i - window.": window_mask(time, window + 1),
            "The window is one key too narrow: j > i - window.": window_mask(time, window - 1),
        }
        _attention(kernel, case, window_mask(time, window), guesses, draw=window == 9)


@exercise(
    "Puzzle 10 (attention sinks)",
    solution=answers().sinks,
    hint="Two walks: over the tiles of the sinks, up to where the band begins, then over the band. No tile twice.",
)
def check_sinks(kernel: Kernel) -> None:
    """`kernel(q, k, v, out, time, window, kept, scale, M, N, D)`: the band, and the first `kept` keys for every query.

    (arXiv 2309.17453: a window alone fails where a model has learnt to rest on the first tokens.)
    """
    for case in (Case(72, 16, 16, (9, 2)), Case(90, 32, 16, (17, 20))):
        time, (window, kept) = case.time, case.numbers
        first, band = (torch.arange(time) < kept) & window_mask(time, time), window_mask(time, window)
        guesses = {
            "That is the band alone: the first keys are for every query behind them.": band,
            CAUSAL: window_mask(time, time),
            "The sinks are there, and the band is not.": first | torch.eye(time, dtype=torch.bool),
        }
        _attention(kernel, case, band | first, guesses, draw=kept == 2)
