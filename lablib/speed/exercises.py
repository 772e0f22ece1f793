"""The puzzles of notebook 07: ten kernels, from adding two vectors to the band with attention sinks.

Each check runs the reader's kernel in Triton's interpreter, draws which lanes were read and written, and guesses the
mistake.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lablib.core.exercise import Mistake, exercise
from lablib.ops.attention import attention_reference, window_mask
from lablib.ops.backend import answers
from lablib.speed.puzzles import Touched, check_kernel, randn

Kernel = Callable[..., None]
TIME, DIM, TILE = 72, 16, 16  # of the puzzles on attention


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
    for height, width in ((3, 16), (2, 40)):
        x = randn(height, width)
        guesses = {
            "That is the first block of each row. A row may be longer: walk over its blocks.": x[:, :16].sum(1),
            "That is the first row every time. Where does row `tl.program_id(0)` begin?": x[:1].sum(1).expand(height),
            "That is the mean.": x.mean(1),
        }
        check_kernel(kernel, (height,), {"x": x}, x.sum(1), guesses, width, draw=width == 40, BLOCK=16)


def _logsumexp(kernel: Kernel, width_of_block: int, drawn: int, sizes: tuple[Tensor, ...]) -> None:
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
        }  # fmt: skip
        right = x.logsumexp(-1)
        check_kernel(kernel, (height,), {"x": x}, right, guesses, width, draw=width == drawn, BLOCK=width_of_block)


@exercise(
    "Puzzle 4 (the log-sum-exp of a row)",
    solution=answers().logsumexp,
    hint="Subtract the largest, add it again. What should a lane behind the row hold, so that its exponential is 0?",
)
def check_logsumexp(kernel: Kernel) -> None:
    """`kernel(x, out, width, BLOCK)`: out[row] = log(sum(exp(x[row]))), a program each; BLOCK is at least width."""
    _logsumexp(kernel, 16, 11, (randn(3, 16), randn(4, 11), 200 * randn(2, 13)))


@exercise(
    "Puzzle 5 (the log-sum-exp of a long row, in one walk)",
    solution=answers().long_logsumexp,
    hint="Keep the largest number so far and the sum. Where a block raises the largest, multiply the sum by "
    "exp(old largest - new largest).",
)
def check_long_logsumexp(kernel: Kernel) -> None:
    """`kernel(x, out, width, BLOCK)`: the same for rows longer than BLOCK, each number read once."""
    _logsumexp(kernel, 16, 40, (randn(2, 16), randn(3, 40), 200 * randn(2, 50)))


@exercise(
    "Puzzle 6 (the scores of one tile)",
    solution=answers().scores_of_a_tile,
    hint="Load q and k as tiles (M, D). tl.dot(q, tl.trans(k)) has the scores; tl.where(j <= i, scores, -inf) hides.",
)
def check_scores_of_a_tile(kernel: Kernel) -> None:
    """`kernel(q, k, out, time, scale, M, D)`: out[i, j] = scale * <q_i, k_j> where j <= i, else -inf; one program."""
    for time in (16, 11):
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
    for rows, inner, columns in ((16, 16, 16), (20, 40, 17)):
        a, b = randn(rows, inner), randn(inner, columns, seed=1)
        guesses = {"That is the first step alone: walk over the inner axis, K at a time.": a[:, :16] @ b[:16]}
        grid, sizes = (-(-rows // 16), -(-columns // 16)), {"M": 16, "N": 16, "K": 16}
        check_kernel(kernel, grid, {"a": a, "b": b}, a @ b, guesses, rows, columns, inner, draw=inner == 40, **sizes)


def _attention(kernel: Kernel, mask: Tensor, guesses: dict[str, Tensor], *numbers: int) -> Touched:
    """Run a kernel of attention on one head of 72 tokens, in tiles of 16; guesses are masks."""
    q, k, v = randn(TIME, DIM), randn(TIME, DIM, seed=1), randn(TIME, DIM, seed=2)
    outputs = {said: attention_reference(q[None, None], k[None, None], v[None, None], other)[0, 0]
               for said, other in guesses.items()}  # fmt: skip
    right = attention_reference(q[None, None], k[None, None], v[None, None], mask)[0, 0]
    given, sizes = {"q": q, "k": k, "v": v}, {"M": TILE, "N": TILE, "D": DIM}
    return check_kernel(
        kernel, (-(-TIME // TILE),), given, right, outputs, TIME, *numbers, DIM**-0.5, draw=True, **sizes
    )


def _no_tile_in_vain(touched: Touched, mask: Tensor) -> None:
    for program, rows in enumerate(touched.rows_read("k")):
        seen = mask[program * TILE : (program + 1) * TILE].any(0)
        vain = [row for row in rows if not seen[row // TILE * TILE : (row // TILE + 1) * TILE].any()]
        if vain:
            raise Mistake(
                f"The numbers are right, but program {program} reads key {vain[0]}, in a tile that none of its queries "
                "reads. Skip such tiles: that is what makes a window fast."
            )


CAUSAL = "That is attention without a window: hide keys j <= i - window."


@exercise(
    "Puzzle 8 (causal attention without its matrix)",
    solution=answers().attention,
    hint="Puzzle 5 for each query, and a row of sums more: o shrinks like the sum of exponentials. Last o / sum.",
)
def check_attention(kernel: Kernel) -> None:
    """`kernel(q, k, v, out, time, scale, M, N, D)`: one head, all (time, D); a program a tile of M queries."""
    everything = window_mask(TIME, TIME)
    itself = everything & ~torch.eye(TIME, dtype=torch.bool)
    itself[0, 0] = True  # the first query has nobody else
    guesses = {
        "The future is not hidden: a query reads keys j <= i.": torch.ones_like(everything),
        "A query does not read itself here: j <= i, not j < i.": itself,
    }
    touched = _attention(kernel, everything, guesses)
    _no_tile_in_vain(touched, everything)


@exercise(
    "Puzzle 9 (the band)",
    solution=answers().band,
    hint="The first query of a program is m0; its first key is m0 - window + 1. Begin at the tile that holds it. "
    "A tile may be empty for some queries: exp(-inf - -inf) is NaN.",
)
def check_band(kernel: Kernel) -> None:
    """`kernel(q, k, v, out, time, window, scale, M, N, D)`: query i reads i - window < j <= i; no tile in vain."""
    mask = window_mask(TIME, 9)
    guesses = {
        CAUSAL: window_mask(TIME, TIME), "The window is one key too wide: j > i - window.": window_mask(TIME, 10),
        "The window is one key too narrow: j > i - window.": window_mask(TIME, 8),
    }  # fmt: skip
    touched = _attention(kernel, mask, guesses, 9)
    _no_tile_in_vain(touched, mask)


@exercise(
    "Puzzle 10 (attention sinks)",
    solution=answers().sinks,
    hint="Two walks: over the tiles of the sinks, up to where the band begins, then over the band. No tile twice.",
)
def check_sinks(kernel: Kernel) -> None:
    """`kernel(q, k, v, out, time, window, kept, scale, M, N, D)`: the band, and the first `kept` keys for every query.

    (arXiv 2309.17453: a window alone fails where a model has learnt to rest on the first tokens.)
    """
    kept = (torch.arange(TIME) < 2) & window_mask(TIME, TIME)
    mask = window_mask(TIME, 9) | kept
    guesses = {
        "That is the band alone: the first keys are for every query behind them.": window_mask(TIME, 9),
        CAUSAL: window_mask(TIME, TIME),
        "The sinks are there, and the band is not.": kept | torch.eye(TIME, dtype=torch.bool),
    }
    touched = _attention(kernel, mask, guesses, 9, 2)
    _no_tile_in_vain(touched, mask)
