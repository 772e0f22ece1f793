"""Exercises: a check that guesses the mistake; mild in a notebook, strict in a test."""

from collections.abc import Callable
from typing import Any


class Mistake(AssertionError):
    """A wrong answer, with a hint at what went wrong."""


class Exercise:
    """A check of an answer. Called, it prints what it finds and never raises; `strict` raises `Mistake`."""

    def __init__(self, check: Callable[[Any], None], title: str):
        self.check, self.title = check, title
        self.__doc__ = check.__doc__

    def strict(self, answer: Any) -> None:
        """Pass silently, or raise: NotImplementedError for an untouched stub, Mistake with a hint for a wrong one."""
        self.check(answer)

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


def exercise(title: str) -> Callable[[Callable[[Any], None]], Exercise]:
    """Decorator: a function that raises `Mistake` becomes an `Exercise`."""
    return lambda check: Exercise(check, title)


def attempt(answer: Callable[..., Any], *arguments: Any) -> Any:
    """Call the learner's function; a stub that returns nothing counts as not attempted."""
    result = answer(*arguments)
    if result is None or result is ...:
        raise NotImplementedError
    return result
