"""An exercise is mild in a notebook and strict in a test."""

import pytest

from lablib.core.exercise import Mistake, attempt, exercise


@exercise("Exercise 9 (doubling)")
def check_doubling(answer) -> None:
    """`answer(x)`: twice x."""
    for x in (1, 5):
        found = attempt(answer, x)
        if found == x * x:
            raise Mistake("That is the square.")
        if found != 2 * x:
            raise Mistake(f"For {x} you say {found}.")


def broken(x):
    raise KeyError("oops")


ANSWERS = {
    "right": (lambda x: x + x, "correct", None),
    "wrong in a known way": (lambda x: x * x, "not yet. That is the square.", Mistake),
    "wrong": (lambda x: 7, "not yet. For 1 you say 7.", Mistake),
    "a stub": (lambda x: None, "not attempted", NotImplementedError),
    "an ellipsis": (lambda x: ..., "not attempted", NotImplementedError),
    "broken": (broken, "not yet. The code raised KeyError: 'oops'", KeyError),
    "a bad index": (lambda x: [][x], "not yet. The code raised IndexError: list index out of range", IndexError),
}


@pytest.mark.parametrize(("answer", "verdict", "error"), ANSWERS.values(), ids=ANSWERS.keys())
def test_a_notebook_prints_the_verdict_and_never_raises_and_a_test_raises(answer, verdict, error, capsys):
    check_doubling(answer)
    assert capsys.readouterr().out == f"Exercise 9 (doubling): {verdict}\n"
    if error is None:
        check_doubling.strict(answer)
    else:
        with pytest.raises(error):
            check_doubling.strict(answer)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("value", [0, False, "", 0.0, []], ids=repr)
def test_an_answer_that_is_falsy_is_still_an_answer(value):
    assert attempt(lambda: value) == value


def test_an_exercise_keeps_its_text():
    assert check_doubling.__doc__ == "`answer(x)`: twice x."
    assert check_doubling.title == "Exercise 9 (doubling)"
