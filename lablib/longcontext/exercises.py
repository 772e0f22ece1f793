"""The exercises of notebooks 00, 01 and 02: solutions, and checks that guess the mistake."""

import functools
import math

import torch

from lablib.core.exercise import Mistake, attempt, close, compare, exercise


def pairs(length: int, window: int) -> int:
    """Query-key pairs of causal attention in a sliding window."""
    return sum(min(i + 1, window) for i in range(length))


@exercise(
    "Exercise 1 (pairs in a window)", solution=pairs,
    hint="Row i (from 0) has i + 1 pairs until that reaches the window.",
)  # fmt: skip
def check_pairs(answer) -> None:
    """`answer(length, window)`: query-key pairs of causal attention in a sliding window."""
    for length, window in ((6, 3), (10, 1), (4, 9), (100, 10)):
        found = attempt(answer, length, window)
        if found == pairs(length, window):
            continue
        if found == length * window:
            raise Mistake("Almost: the first rows have fewer tokens before them than the window holds.")
        if length < window and found == length * window - window * (window - 1) // 2:
            raise Mistake(f"Right for long inputs. What if the input ({length}) is shorter than the window ({window})?")
        raise Mistake(f"For {length} tokens and a window of {window} you say {found}; draw the matrix and count.")


def longest_input(length: int, seconds: float, exponent: float, budget: float) -> float:
    """The length whose time is `budget`, where time grows like length ** exponent."""
    return length * (budget / seconds) ** (1 / exponent)


@exercise(
    "Exercise 2 (the longest input)", solution=longest_input,
    hint="budget / seconds = (longest / length) ** exponent. Solve that for the longest.",
)  # fmt: skip
def check_longest_input(answer) -> None:
    """`answer(length, seconds, exponent, budget)`: tokens that can be read in `budget` seconds."""
    for given in ((4096, 0.5, 2.0, 50.0), (65_536, 0.3, 1.0, 60.0), (1000, 2.0, 1.5, 0.5)):
        length, seconds, exponent, budget = given
        guesses = {
            "That is right for work that grows linearly. With an exponent of 2, four times the budget reads twice the "
            "tokens.": length * budget / seconds,
            "That is the time of an input, and not its length: the exponent stands on the other side.":
                length * (budget / seconds) ** exponent,
        }  # fmt: skip
        found, right = float(attempt(answer, *given)), longest_input(*given)
        said = f"For {length:,} tokens in {seconds:g} s, exponent {exponent:g} and {budget:g} s you say {found:,.0f}."
        compare(found, right, guesses, said, lambda one, other: math.isclose(one, other, rel_tol=1e-6))


def visible(position: int, chunk: int, size: int) -> bool:
    """Whether the token at `position` may read chunk number `chunk`: only when all of it lies in the past."""
    return position >= (chunk + 1) * size


@exercise(
    "Exercise 1 (when is a chunk visible?)", solution=visible,
    hint="The encoder reads a chunk in both directions. A token inside the chunk would see its own future.",
)  # fmt: skip
def check_visible(answer) -> None:
    """`answer(position, chunk, size)`: may the token at `position` read chunk number `chunk`?"""
    for size, position, chunk in [(n, i, chunk) for n in (4, 8) for i in range(4 * n) for chunk in range(4)]:
        found = attempt(answer, position, chunk, size)
        if bool(found) == visible(position, chunk, size):
            continue
        if found and chunk == position // size:
            raise Mistake(
                f"Token {position} would read chunk {chunk}, its own, of size {size}. The chunk is encoded in "
                "both directions: its landmark knows tokens that are still to come."
            )
        if found:
            raise Mistake(f"Token {position} would read chunk {chunk} of size {size}, which lies in its future.")
        raise Mistake(f"Token {position} may read chunk {chunk} of size {size}: all of it lies in the past.")


def joint_with_scores(logits: torch.Tensor, values: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """One softmax over all tokens of all chunks; a chunk's score is added to the logits of its tokens."""
    weights = (logits + scores[:, None]).flatten().softmax(0)
    return weights @ values.flatten(0, 1)


@exercise(
    "Exercise 2 (one softmax that knows the scores)", solution=joint_with_scores,
    hint="A softmax turns a sum into a product: exp(a + b) = exp(a) exp(b). Where could a score be added?",
)  # fmt: skip
def check_joint_with_scores(answer) -> None:
    """`answer(logits, values, scores)`: (chunks, tokens), (chunks, tokens, dim), (chunks) -> an output (dim)."""
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    logits, values, scores = draw(3, 4), draw(3, 4, 5), draw(3, requires_grad=True)
    found = attempt(answer, logits, values, scores)
    if not isinstance(found, torch.Tensor) or found.shape != (5,):
        raise Mistake(f"Expected a tensor of shape (5,), one output; got {getattr(found, 'shape', type(found))}.")
    learns = found.requires_grad and torch.autograd.grad(found.sum(), scores, retain_graph=True, allow_unused=True)[0]
    if learns is False or learns is None:
        raise Mistake("The scores are no part of this output, so they get no gradient: the choice cannot be learnt.")
    weights = logits.flatten().softmax(0).view(3, 4)
    apart = torch.einsum("c,cs,csd->d", scores.softmax(0), logits.softmax(1), values)
    guesses = {
        "That is HSA: a softmax inside each chunk. Here all tokens should share one softmax.": apart,
        "The weights do not sum to 1 any more. Put the scores in before the softmax.": torch.einsum(
            "c,cs,csd->d", scores.softmax(0), weights, values
        ),
    }
    compare(found, joint_with_scores(logits, values, scores), guesses, "Add each chunk's score to its logits.", close)


KEPT, SURE = 4, 0.99  # chunks that are read; how often the needle is to be found


def needed_score(chunks: int) -> float:
    """The score at which fewer than four of so many noise scores are higher in 99 of 100 draws, by a Poisson law."""
    normal = torch.distributions.Normal(0.0, 1.0)
    return float(normal.icdf(torch.tensor(1 - 0.823 / chunks)))  # P(Poisson(0.823) < 4) = 0.99


def measured_score(chunks: int, draws: int = 2000) -> float:
    """The same by drawing: the 0.99 quantile of the fourth highest noise score."""
    noise = torch.randn(draws, chunks, generator=torch.Generator().manual_seed(chunks))
    return float(noise.topk(KEPT, dim=1).values[:, -1].quantile(SURE))


@exercise(
    "Exercise 3 (how high must the needle's score be?)", solution=needed_score,
    hint="Of C noise scores about C times P(score > s) lie above s. That has to stay below one.",
)  # fmt: skip
def check_needed_score(answer) -> None:
    """`answer(chunks)`: the score at which the needle's chunk is among the best four in 99 of 100 questions."""
    told = {chunks: float(attempt(answer, chunks)) for chunks in (8, 128, 8192)}
    measured = {chunks: measured_score(chunks) for chunks in told}
    for chunks, score in measured.items():
        print(f"{chunks:>5,} chunks: you say {told[chunks]:.1f}, measured {score:.1f}")
    for chunks, score in measured.items():
        if told[chunks] > score + 0.5 and chunks > 8:
            raise Mistake(f"Too high for {chunks:,} chunks. The tail of a normal distribution falls fast.")
        if abs(told[chunks] - score) > 0.5:
            raise Mistake(f"Not within 0.5 for {chunks:,} chunks. More chunks need a higher score, but how much?")


def slope(step: int, start: int, steps: int, before: int, after: int) -> int:
    """The window at a step of a linear slope of `steps` steps."""
    share = min(max((step - start + 1) / (steps + 1), 0), 1)
    return round(before + share * (after - before))


@exercise(
    "Exercise 1 (a slope between two windows)", solution=slope,
    hint="Clip the share (step - start + 1) / (steps + 1) to [0, 1].",
)  # fmt: skip
def check_slope(answer) -> None:
    """`answer(step, start, steps, before, after)`: the window at `step` on a linear slope of `steps` steps.

    `before` at steps before `start`, `after` from `start + steps` on. The `steps` between divide the way evenly: the
    first of them is already 1 / (steps + 1) of it away. Rounded.
    """
    for start, steps, before, after in ((100, 10, 8, 64), (0, 4, 8, 16), (50, 5, 64, 8)):
        for step in range(start + steps + 3):
            found = attempt(answer, step, start, steps, before, after)
            if found == slope(step, start, steps, before, after):
                continue
            if not isinstance(found, int):
                raise Mistake(f"A window is a whole number of tokens; at step {step} you say {found!r}. Round it.")
            if step < start:
                raise Mistake(f"At step {step} the slope from {start} on has not begun: the window is {before}.")
            if step >= start + steps:
                raise Mistake(f"At step {step} the slope is over since step {start + steps}: the window is {after}.")
            raise Mistake(
                f"At step {step} of a slope from step {start} over {steps} steps, from {before} to {after}, you say "
                f"{found}. Which share of the way is done? Before the slope none of it is, after it all."
            )


def alarm(recalls: list[float], drop: float) -> bool:
    """Whether both of the last two recalls lie more than `drop` below the best one before."""
    return len(recalls) >= 3 and max(recalls[-2:]) < max(recalls[:-2]) - drop


@exercise(
    "Exercise 2 (has retrieval faded?)", solution=alarm,
    hint="The better of the last two must still be too low. What if there is nothing before them?",
)  # fmt: skip
def check_alarm(answer) -> None:
    """`answer(recalls, drop)`: True if both of the last two lie more than `drop` below the best of those before."""
    cases = [
        ([1.0, 1.0, 1.0, 1.0], 0.1, "a steady signal"),
        ([1.0, 1.0, 0.2, 0.2], 0.1, "a fade"),
        ([1.0, 1.0, 0.9, 0.2], 0.1, "one bad look"),
        ([1.0, 0.2, 1.0, 1.0], 0.1, "a recovery"),
        ([0.2, 1.0, 0.5, 0.4, 0.3], 0.1, "a fade after a rise"),
        ([0.0, 0.1, 0.5, 1.0], 0.1, "a rise"),
        ([1.0, 0.1], 0.1, "a series too short to have a before"),
        ([1.0, 1.0, 0.8, 0.8], 0.3, "a loss within the drop"),
    ]
    for recalls, drop, what in cases:
        found = attempt(answer, list(recalls), drop)
        if bool(found) == alarm(recalls, drop) and found is not None:
            continue
        raise Mistake(f"{'False' if found else 'No'} alarm at {recalls} with drop {drop}: this is {what}.")


def miss(tail: float, chunks: int, top_k: int) -> float:
    """The chance that at least `top_k` of the noise chunks score higher; their number is Poisson."""
    mean, found = tail * chunks, 0.0
    chance = torch.tensor(-mean, dtype=torch.float64).exp().item()  # of no higher score, then of 1, 2, ...
    for i in range(top_k):
        found, chance = found + chance, chance * mean / (i + 1)
    return 1 - found


@exercise(
    "Exercise 3 (the chance of a miss)", solution=miss,
    hint="One minus the chance of 0, 1, ... top_k - 1 higher scores; of i it is exp(-m) m^i / i!.",
)  # fmt: skip
def check_miss(answer) -> None:
    """`answer(tail, chunks, top_k)`: the chance that at least `top_k` of so many noise chunks score higher.

    Each does with probability `tail`, independently; their number is Poisson with mean tail * chunks.
    """
    for tail, chunks, top_k in ((1e-3, 512, 1), (1e-3, 512, 4), (1e-6, 2**21, 4), (1e-3, 8192, 4)):
        found, missed = attempt(answer, tail, chunks, top_k), miss(tail, chunks, top_k)
        close = functools.partial(math.isclose, found if isinstance(found, int | float) else math.nan, rel_tol=0.02)
        if close(missed, abs_tol=1e-9):
            continue
        if close(1 - missed):
            raise Mistake("That is the chance of finding it. A miss is the rest.")
        if top_k > 1 and close(1 - math.exp(-tail * chunks)):
            raise Mistake(f"One chunk with a higher score is not enough: the needle is missed when {top_k} are.")
        raise Mistake(
            f"With a tail of {tail:g}, {chunks} chunks and top-k {top_k} you say {found}. How many higher scores do "
            "you expect, and how many can the needle bear?"
        )
