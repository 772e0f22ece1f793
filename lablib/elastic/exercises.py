"""The exercises of notebook 04: solutions, and checks that guess the mistake."""

import torch
from torch import Generator

from lablib.core.exercise import Mistake, attempt, close, compare, exercise
from lablib.elastic.family import PARENT
from lablib.elastic.router import RouterConfig, settled


def masked_norm(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """RMSNorm under a mask: the mean square is over the kept channels, and the others stay 0."""
    mean = (x * mask).square().sum(-1, keepdim=True) / mask.sum()
    return x * mask / mean.sqrt()


@exercise(
    "Exercise 1 (a mask and a slice that differ)",
    solution=masked_norm,
    hint="The slice has fewer channels. What does its mean divide by?",
)
def check_masked_norm(answer) -> None:
    """`answer(x, mask)`: under a mask of ones and zeros what RMSNorm gives on the kept channels alone, 0 elsewhere."""
    x, mask = torch.randn(3, 8, generator=Generator().manual_seed(0)), torch.tensor([1.0] * 5 + [0.0] * 3)
    found, right = torch.as_tensor(attempt(answer, x.clone(), mask.clone())), masked_norm(x, mask)
    kept = x * mask
    guesses = {
        "The kept channels come out too large: the mean square still divides by all 8 channels.":
            kept / kept.square().mean(-1, keepdim=True).sqrt(),
        "The mean square also counts channels that are not kept; a slice does not have them.":
            kept / x.square().mean(-1, keepdim=True).sqrt(),
        "Channels that are not kept are not 0.": x / (kept.square().sum(-1, keepdim=True) / mask.sum()).sqrt(),
        "The mean square is taken over rows too; each row has its own.":
            kept / (kept.square().sum() / (3 * mask.sum())).sqrt(),
    }  # fmt: skip
    said = "On the first 5 channels it should be what RMSNorm gives for x[:, :5]. Compare the two."
    if found.shape != right.shape:
        said = f"You return shape {tuple(found.shape)}; expected that of x, {tuple(right.shape)}."
    compare(found, right, guesses, said, close)


def legal_order(scores: torch.Tensor, groups: int) -> torch.Tensor:
    """The heads by importance inside of each group, the groups in their places."""
    inside = scores.unflatten(0, (groups, -1)).argsort(1, descending=True)
    first = torch.arange(groups) * inside.shape[1]
    return (inside + first[:, None]).flatten()


@exercise(
    "Exercise 2 (an order that keeps groups)",
    solution=legal_order,
    hint="Sort each group alone. Head 0 of the second group has another number than head 0 of the first.",
)
def check_legal_order(answer) -> None:
    """`answer(scores, groups)`: the numbers of the heads, the most important of each group first, groups in place."""
    for scores, groups in (([0.1, 0.9, 0.5, 0.7], 2), ([3.0, 1.0, 2.0, 6.0, 5.0, 4.0], 3), ([1.0, 2.0, 3.0], 1)):
        given = torch.tensor(scores)
        found, right = torch.as_tensor(attempt(answer, given.clone(), groups)), legal_order(given, groups)
        each = len(scores) // groups
        guesses = {
            "That is the order of all heads. A head that leaves its group meets the B and C of another.":
                given.argsort(descending=True),
            "The least important stand first.": legal_order(-given, groups),
            "The second group has the numbers of the first: add where the group begins.": right % each,
        }  # fmt: skip
        said = f"For scores {scores} and {groups} groups you say {found.tolist()}; expected each head once."
        compare(found, right, guesses, said, lambda a, b: a.shape == b.shape and bool((a == b).all()))


STUCK = RouterConfig(targets=(0.5,), cost_weight=0.1)  # what the third exercise begins with


def unstuck(stuck):
    """The cost has to weigh as much as what is lost; the temperature may stay."""
    return stuck.replace(cost_weight=10.0)


@exercise(
    "Exercise 3 (a router that never leaves its first choice)",
    solution=unstuck,
    hint="Print what the cost adds to the loss, and what a smaller budget adds. Which is larger?",
)
def check_unstuck(answer) -> None:
    """`answer(stuck)`: the configuration with one number changed, so that the router meets its target of 0.50."""
    found = attempt(answer, STUCK)
    if not isinstance(found, RouterConfig):
        raise Mistake(f"You return {type(found).__name__}; expected a RouterConfig, as stuck.replace(...) gives it.")
    changed = [name for name, value in found.flat().items() if value != STUCK.flat()[name]]
    if not changed:
        raise Mistake("Nothing is changed.")
    if len(changed) > 1:
        raise Mistake(f"You change {', '.join(changed)}; one number is enough.")
    if changed[0] not in ("cost_weight", "temperature", "scale"):
        raise Mistake(f"{changed[0]} says what is asked for. Change how the router learns.")
    share = settled(found, PARENT)[0]
    if abs(share - 0.5) > 0.04:
        why = {
            "cost_weight": "the cost weighs too little" if share > 0.5 else "the cost weighs too much",
            "temperature": "the choices are free for longer, but nothing pulls them to the target",
            "scale": "the choices are softer or harder, but nothing pulls them to the target",
        }
        raise Mistake(f"With {changed[0]} changed it settles at {share:.2f}; expected 0.50: {why[changed[0]]}.")
