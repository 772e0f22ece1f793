"""The exercises of notebook 03: solutions, and checks that guess the mistake."""

import operator

import torch
from torch import Generator

from lablib.core.exercise import Mistake, attempt, close, compare, exercise


def step(weights: torch.Tensor, gradient: torch.Tensor, rate: float, clip: float) -> torch.Tensor:
    """One step down the gradient, whose norm is cut to at most `clip`."""
    return weights - rate * gradient * min(1.0, clip / max(float(gradient.norm()), 1e-9))


@exercise(
    "Exercise 1 (the inner step)",
    solution=step,
    hint="Only a gradient that is too long is made shorter, and it keeps its direction.",
)
def check_inner_step(answer) -> None:
    """`answer(weights, gradient, rate, clip)`: one step down the gradient, its norm at most `clip` before the rate."""
    weights = torch.tensor([1.0, -2.0, 0.5])
    for gradient, clip in (([0.3, 0.0, 0.4], 1.0), ([3.0, 0.0, 4.0], 1.0), ([3.0, 0.0, 4.0], 2.0), ([0.0] * 3, 1.0)):
        slope = torch.tensor(gradient)
        found, norm = torch.as_tensor(attempt(answer, weights.clone(), slope, 0.5, clip)), float(slope.norm())
        to_clip = slope * clip / max(norm, 1e-9)
        taken = {  # the hint, and what is taken for the gradient
            "That goes up the loss. The gradient points uphill.": -(slope if norm < clip else to_clip),
            f"The gradient has norm {norm:g}; a clip of {clip:g} allows less.": slope,
            "You clip each entry. The paper clips the norm, which keeps the direction.": slope.clamp(-clip, clip),
            f"A gradient of norm {norm:g} is shorter than the clip of {clip:g}: leave it as it is.": to_clip,
        }
        said = f"For gradient {slope.tolist()}, rate 0.5 and clip {clip:g} you say {found.tolist()}; do it by hand."
        if found.shape != weights.shape:
            said = f"You return shape {tuple(found.shape)}; expected that of the weights, {tuple(weights.shape)}."
        elif not torch.isfinite(found).all():
            said = "For a gradient of 0 that divides by 0. What should happen then?"
        guesses = {hint: weights - 0.5 * instead for hint, instead in taken.items()}
        compare(found, step(weights, slope, 0.5, clip), guesses, said, close)


def scores(weight: float, chunks: list, loss, learn) -> list:
    """The losses of the chunks, each scored before it is learnt from."""
    found = []
    for chunk in chunks:
        found.append(loss(weight, chunk))
        weight = learn(weight, chunk)
    return found


@exercise(
    "Exercise 2 (find the leak)",
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


def bind(state: torch.Tensor, key: torch.Tensor, value: torch.Tensor, rate: float) -> torch.Tensor:
    """One gradient step on |state @ key - value|^2 / 2: (values, keys), (keys), (values) -> (values, keys)."""
    return state - rate * torch.outer(state @ key - value, key)


@exercise(
    "Exercise 3 (binding a value to a key)",
    solution=bind,
    hint="The derivative by S is the outer product of S k - v and k. (Above, the state stood on the other side of k.)",
)
def check_binding(answer) -> None:
    """`answer(state, key, value, rate)`: one gradient step on |state @ key - value|^2 / 2."""
    generator = Generator().manual_seed(5)
    state, key, value = (torch.randn(*shape, generator=generator) for shape in ((2, 3), (3,), (2,)))
    step = torch.outer(state @ key - value, key)
    expected = bind(state, key, value, 0.3)
    found = torch.as_tensor(attempt(answer, state.clone(), key, value, 0.3))
    guesses = {
        "Transposed: the state maps keys to values, so its shape is (values, keys).": expected.mT,
        "That adds the value to what is already stored: linear attention. What did the state answer before?":
            state + 0.3 * torch.outer(value, key),
        "Twice too far: the half in the loss cancels the two of the square.": state - 0.6 * step,
        "That goes up the loss: afterwards the state misses the value by more.": state + 0.3 * step,
    }  # fmt: skip
    said = "Write the loss for one entry of the state and differentiate: it is a product of two numbers."
    if found.shape != expected.shape:
        said = f"You return shape {tuple(found.shape)}; expected that of the state, {tuple(expected.shape)}."
    compare(found, expected, guesses, said, close)
