"""Exercises: a check that guesses the mistake, and a solution: the check's oracle, which a notebook shows folded."""

import dataclasses
import html
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


class Mistake(AssertionError):
    """A wrong answer, with a hint at what went wrong."""


@dataclasses.dataclass(frozen=True)
class Exercise:
    """A check of an answer. Called, it prints what it finds and never raises.

    `strict`, the check itself, passes silently or raises: NotImplementedError for an untouched stub, else `Mistake`.
    """

    strict: Callable[[Any], None]
    title: str
    solution: Callable[..., Any] | None = None
    hint: str = ""  # plain text

    def __post_init__(self):
        object.__setattr__(self, "__doc__", self.strict.__doc__)

    def __call__(self, answer: Any) -> None:
        try:
            self.strict(answer)
        except NotImplementedError:
            print(f"{self.title}: not attempted")
        except Mistake as mistake:
            print(f"{self.title}: not yet. {mistake}")
        except Exception as error:
            print(f"{self.title}: not yet. The code raised {type(error).__name__}: {error}")
        else:
            print(f"{self.title}: correct")


def exercise(
    title: str, *, solution: Callable[..., Any] | None = None, hint: str = ""
) -> Callable[[Callable[[Any], None]], Exercise]:
    """Decorator: a check that raises `Mistake` becomes an `Exercise`; the check calls `solution` as its oracle."""
    return lambda check: Exercise(check, title, solution, hint)


def attempt(answer: Callable[..., Any], *arguments: Any) -> Any:
    """Call the learner's function; a stub that returns nothing counts as not attempted."""
    result = answer(*arguments)
    if result is None or result is ...:
        raise NotImplementedError
    return result


def compare(found: Any, right: Any, guesses: dict[str, Any], otherwise: str, fits: Callable[[Any, Any], bool]) -> None:
    """Pass what is right, or raise `Mistake` with the hint whose guess fits; where none does, with `otherwise`."""
    if not fits(found, right):
        raise Mistake(next((hint for hint, guess in guesses.items() if fits(found, guess)), otherwise))


def close(found: Tensor, other: Tensor, tolerance: float = 1e-5) -> bool:
    """Whether two tensors have one shape and nearly the same numbers; NaN is like NaN."""
    like = found.shape == other.shape
    return like and torch.allclose(found, other, rtol=tolerance, atol=tolerance, equal_nan=True)


def solution_source(one: Exercise) -> str:
    """The code of the solution, a Triton kernel's too. ValueError for an exercise without a solution."""
    if one.solution is None:
        raise ValueError(f"{one.title} has no solution; give it to the decorator: exercise(title, solution=function)")
    function = getattr(one.solution, "fn", one.solution)  # where Triton keeps the function of a kernel
    return textwrap.dedent(inspect.getsource(function)).strip()


def show_solution(one: Exercise) -> None:
    """Display the hint and the solution in a notebook, both folded. ValueError for an exercise without a solution."""
    from IPython.display import display

    code = html.escape(solution_source(one))
    folded = f"<details><summary>Solution</summary><pre><code>{code}</code></pre></details>"
    if one.hint:
        folded = f"<details><summary>Hint</summary>{html.escape(one.hint)}</details>\n{folded}"
    display({"text/html": folded, "text/plain": f"{one.title}: the solution is folded"}, raw=True)
