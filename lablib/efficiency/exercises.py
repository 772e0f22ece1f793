"""The exercises of notebook 05: solutions, and checks that guess the mistake."""

from collections.abc import Callable

import pandas as pd
import torch
from torch import Generator

from lablib.core.exercise import Mistake, attempt, close, compare, exercise
from lablib.core.tables import read_rows


def distillation_loss(teacher: torch.Tensor, student: torch.Tensor, temperature: float) -> torch.Tensor:
    """T^2 KL(teacher || student), the mean over rows."""
    p, q = (teacher / temperature).log_softmax(-1), (student / temperature).log_softmax(-1)
    return temperature**2 * torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")


@exercise(
    "Exercise 1 (a loss with its arguments swapped)",
    solution=distillation_loss,
    hint="F.kl_div(a, b) is KL(b || a). Which of the two has to cover the other?",
)
def check_distillation_loss(answer) -> None:
    """`answer(teacher, student, temperature)`: T squared times the forward KL of logits, the mean over rows."""
    draw = Generator().manual_seed(0)
    teacher, student = (2 * torch.randn(5, 7, generator=draw) for _ in range(2))
    for t in (1.0, 3.0):
        found = torch.as_tensor(attempt(answer, teacher.clone(), student.clone(), t)).float()
        right = distillation_loss(teacher, student, t)
        guesses = {
            "That is KL(student || teacher): the student learns to drop what it cannot have, and writes fewer words.":
                distillation_loss(student, teacher, t),
            "The temperature is there, T squared is not: at T = 3 the gradient is a ninth.": right / t**2,
            "T is there once: the gradient still falls with the temperature.": right / t,
            "The sum is taken over rows: twice the batch would be twice the rate.": 5 * right,
            "The mean is taken over rows and tokens: the loss is a seventh.": right / 7,
        }  # fmt: skip
        compare(found, right, guesses, f"At temperature {t:g} you give {found.tolist()}, expected {right:.4f}.", close)


def first_values(rank: int, num_in: int, num_out: int, generator: torch.Generator):
    """A is drawn, B is 0: the product is 0, and B has a gradient."""
    return torch.randn(rank, num_in, generator=generator) / num_in**0.5, torch.zeros(num_out, rank)


@exercise(
    "Exercise 2 (a LoRA that never learns)",
    solution=first_values,
    hint="The gradient of B is a product with A, and that of A a product with B.",
)
def check_first_values(answer) -> None:
    """`answer(rank, num_in, num_out, generator)`: A (rank, in) and B (out, rank) that begin as no change, and learn."""
    found = attempt(answer, 2, 5, 3, Generator().manual_seed(0))
    if not isinstance(found, tuple | list) or [tuple(part.shape) for part in found] != [(2, 5), (3, 2)]:
        raise Mistake("Return A of shape (rank, in) and B of shape (out, rank), in this order.")
    down, up = (part.detach().clone().float().requires_grad_() for part in found)
    if bool((up @ down).abs().max() > 1e-6):
        raise Mistake("B A is not 0: the model does not begin as its base.")
    x = torch.randn(8, 5, generator=Generator().manual_seed(1))
    (x @ down.mT @ up.mT - 1).square().sum().backward()
    if not bool(down.grad.any() or up.grad.any()):
        raise Mistake("Both are 0, so both gradients are 0: after any number of steps both are still 0.")


def choose(shift: str) -> tuple[str, float]:
    """A bias for a change of frequencies; weights of the maps for a change of contexts."""
    return ("BitFit", 3e-2) if shift == "unigram" else ("full", 1e-3)


def regret(table: pd.DataFrame, shift: str, method: str, rate: float) -> float:
    """Nats above the best choice, by the mean over seeds of the nearest rate in `efficiency/tuning_rates`."""
    means = read_rows(table).groupby(["language.shift", "name", "train.optim.lr"])["excess"].mean()[shift]
    rates = means[method].index.to_series()
    nearest = rates[(rates / rate).map(lambda ratio: max(ratio, 1 / ratio)).idxmin()]
    return float(means[method, nearest] - means.min())


def check_choice(table: pd.DataFrame) -> Callable[[Callable], None]:
    """The exercise over a table of `efficiency/tuning_rates`."""

    @exercise(
        "Exercise 3 (choose a method and a rate)",
        solution=choose,
        hint="Can a bias tell one context from another?",
    )
    def check(answer) -> None:
        """`answer(shift)`: a method and its learning rate, at most 0.1 nats above the best one."""
        methods = sorted(read_rows(table)["name"].unique())
        for shift in ("unigram", "transitions"):
            found = attempt(answer, shift)
            if not isinstance(found, tuple) or len(found) != 2 or found[0] not in methods or not found[1] > 0:
                raise Mistake(f"Return a method and a rate, such as ('LoRA', 3e-3); methods: {', '.join(methods)}.")
            lost = regret(table, shift, *found)
            print(f"{shift}: {found[0]} at {found[1]:g} is {lost:.2f} nats above the best choice")
            if lost > 0.1:
                raise Mistake(f"That is more than 0.1. Look at the sweep: what does the shift {shift!r} change?")

    return check
