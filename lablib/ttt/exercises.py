"""The exercises of notebook 03: solutions, and checks that guess the mistake."""

import operator

import torch

from lablib.core.exercise import Mistake, attempt, compare, exercise


def scores(weight: float, chunks: list, loss, learn) -> list:
    """The losses of the chunks, each scored before it is learnt from."""
    found = []
    for chunk in chunks:
        found.append(loss(weight, chunk))
        weight = learn(weight, chunk)
    return found


@exercise(
    "Exercise 1 (repair a leak)",
    solution=scores,
    hint="A chunk that was learnt from is no test any more. Which comes first?",
)
def check_scores(answer) -> None:
    """`answer(weight, chunks, loss, learn)`: the losses of the chunks, none learnt from before it is scored.

    Weight and chunks are numbers here; `loss(weight, chunk)` and `learn(weight, chunk)` are given.
    """
    chunks = [1.0, 3.0, 2.0, 5.0]
    loss = lambda weight, chunk: (weight - chunk) ** 2  # noqa: E731
    learn = lambda weight, chunk: weight - 0.5 * (weight - chunk)  # noqa: E731
    found = attempt(answer, 0.0, list(chunks), loss, learn)
    if not isinstance(found, list | tuple):
        raise Mistake(f"You return {found!r}; expected the list of the chunks' losses, one a chunk.")
    found = [float(value) for value in found]
    guesses = {
        "Too good: each chunk is scored with weights that have seen it. A test loss must come first.":
            scores(0.0, chunks, lambda weight, chunk: loss(learn(weight, chunk), chunk), learn),
        "Nothing is learnt: every chunk is scored with the weights from the beginning.":
            scores(0.0, chunks, loss, lambda weight, chunk: weight),
    }  # fmt: skip
    said = f"For chunks {chunks} you say {found}; the first loss is (0 - 1)^2, and then the weight is 0.5."
    if len(found) != len(chunks):
        said = f"You return {len(found)} losses for {len(chunks)} chunks."
    compare(found, scores(0.0, chunks, loss, learn), guesses, said, operator.eq)


def outer_loss(weight: torch.Tensor, chunks: list, loss, rate: float) -> torch.Tensor:
    """The sum of the chunks' losses; after each chunk the weight takes a step, and gradients flow through the step."""
    total = torch.zeros(())
    for chunk in chunks:
        found = loss(weight, chunk)
        (slope,) = torch.autograd.grad(found, weight, create_graph=True)
        total, weight = total + found, weight - rate * slope
    return total


@exercise(
    "Exercise 2 (both loops)",
    solution=outer_loss,
    hint="torch.autograd.grad(loss, weight, create_graph=True) gives a gradient that can be differentiated again.",
)
def check_outer_loss(answer) -> None:
    """`answer(weight, chunks, loss, rate)`: the sum of the losses, each before the step on its own chunk.

    The weight is one number with requires_grad; the gradient of the sum is held against a difference quotient.
    """
    chunks, loss, rate = [1.0, 3.0, 2.0], lambda weight, chunk: (weight * chunk - 1) ** 2, 0.1

    def gradient(run, start: float = 0.5):
        weight = torch.tensor(start, dtype=torch.float64, requires_grad=True)
        found = torch.as_tensor(attempt(run, weight, list(chunks), loss, rate))
        if not found.requires_grad:
            raise Mistake("The sum has no gradient: somewhere the weight was detached or turned into a number.")
        return float(found.detach()), float(torch.autograd.grad(found, weight)[0])

    def run(start: float) -> float:
        return outer_loss(torch.tensor(start, dtype=torch.float64, requires_grad=True), chunks, loss, rate).item()

    total, slope = gradient(answer)
    guesses = {
        "Each chunk is scored after it was learnt from.": gradient(_learnt_first)[0],
        "Nothing is learnt between the chunks.": gradient(lambda *of: outer_loss(*of[:3], 0.0))[0],
    }
    compare(total, run(0.5), guesses, f"The sum is {total:.4f}, expected {run(0.5):.4f}.", _near)
    quotient = (run(0.501) - run(0.499)) / 0.002
    first = (
        "The sum is right, its gradient is not: it is {:.3f}, a difference quotient says {:.3f}. Is the inner gradient "
    )
    first += "part of the graph?"
    compare(slope, quotient, {}, first.format(slope, quotient), lambda a, b: abs(a - b) < 1e-3)


def _learnt_first(weight: torch.Tensor, chunks: list, loss, rate: float) -> torch.Tensor:
    total = torch.zeros(())
    for chunk in chunks:
        weight = weight - rate * torch.autograd.grad(loss(weight, chunk), weight, create_graph=True)[0]
        total = total + loss(weight, chunk)
    return total


def _near(found: float, expected: float) -> bool:
    return abs(found - expected) < 1e-6


def both_gradients(start: float, rate: float, steps: int) -> tuple[float, float]:
    """Of L(W_n), L(W) = (W - 3)^2, after n steps: exact, and with each inner gradient detached."""
    shrunk = (1 - 2 * rate) ** steps
    last = 2 * (start - 3) * shrunk
    return last * shrunk, last


@exercise(
    "Exercise 3 (what a detach does)",
    solution=both_gradients,
    hint="W - 3 shrinks by 1 - 2 rate in each step. By how much does W_n move when W_0 moves by 1?",
)
def check_both_gradients(answer) -> None:
    """`answer(start, rate, steps)`: the gradient of (W_n - 3)^2 with respect to W_0, exact and detached."""
    for start, rate, steps in ((1.0, 0.1, 1), (1.0, 0.1, 4), (0.0, 0.25, 3)):
        found = attempt(answer, start, rate, steps)
        if not isinstance(found, tuple | list) or len(found) != 2:
            raise Mistake("Return two numbers: the exact gradient, and the one with a detach in each step.")
        exact, detached = both_gradients(start, rate, steps)
        said = (
            f"From {start:g} at rate {rate:g}, {steps} steps: you say ({found[0]:.3f}, {found[1]:.3f}); do it by hand."
        )
        guesses = {
            "The other way round: the exact one is the smaller one here.": (detached, exact),
            "Right for one step. Each further step multiplies once more.": both_gradients(start, rate, 1),
            "That is the gradient where the weight began. The loss is taken after the steps.": (
                2 * (start - 3) * (1 - 2 * rate) ** steps,
                2 * (start - 3),
            ),
        }
        same = lambda one, other: all(map(_near, one, other))  # noqa: E731
        compare(tuple(map(float, found)), (exact, detached), guesses, said, same)
