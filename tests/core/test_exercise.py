"""An exercise is mild in a notebook and strict in a test, and its folded solution is the function that it asks for."""

import ast
import builtins
import html
import importlib
import re
import symtable

import nbformat
import pytest

from lablib.core.exercise import Exercise, Mistake, attempt, exercise, show_solution, solution_source
from lablib.core.store import PROJECT

# the kernels' solutions need the interpreter: tests/kernels/interpreted/test_kernel_exercises.py
SUBJECTS = ["lablib.longcontext.exercises", "lablib.ttt.exercises"]


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


def halve(x: float) -> float:
    """Half of x, unless `x < 0`."""
    return x / 2


@exercise("Exercise 8 (halves)", solution=halve, hint="What times 2 is x? (x > 0 & x < 9)")
def check_halves(answer) -> None:
    if attempt(answer, 3.0) != halve(3.0):
        raise Mistake("Try again.")


def displayed(one, monkeypatch) -> str:
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: shown.append(data["text/html"]))
    show_solution(one)
    return "\n".join(shown)


def test_the_folded_solution_is_the_source_of_the_function_that_is_the_oracle(monkeypatch):
    text = displayed(check_halves, monkeypatch)
    assert re.findall(r"<summary>(\w+)</summary>", text) == ["Hint", "Solution"]
    assert text.count("<details>") == text.count("</details>") == 2
    assert "open" not in text
    code = html.unescape(text.partition("<code>")[2].partition("</code>")[0])
    room = {}
    exec(code, room)
    check_halves.strict(room["halve"])  # what a reader copies from the page passes the check


def test_what_is_folded_can_hold_no_markup_of_its_own(monkeypatch):
    text = displayed(check_halves, monkeypatch)
    assert "(x &gt; 0 &amp; x &lt; 9)" in text
    assert "unless `x &lt; 0`" in text


def test_a_solution_that_is_missing_is_asked_for():
    with pytest.raises(ValueError, match=r"Exercise 9 \(doubling\) has no solution; .*solution=function"):
        solution_source(check_doubling)


def every_exercise():
    for module in SUBJECTS:
        for name, one in vars(importlib.import_module(module)).items():
            if isinstance(one, Exercise):
                yield pytest.param(one, id=f"{module}.{name}")


@pytest.mark.parametrize("one", [pytest.param(check_halves, id="halves"), *every_exercise()])
def test_every_solution_passes_its_own_check_and_can_be_shown(one):
    one.strict(one.solution)
    assert "def " in solution_source(one)


NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_solution_that_is_copied_into_its_notebook_finds_every_name(path):
    code = [cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    bound = {name for source in code for name in symtable.symtable(source, path.stem, "exec").get_identifiers()}
    for module in SUBJECTS:
        for name, one in vars(importlib.import_module(module)).items():
            if isinstance(one, Exercise) and any(f"exercises.{name}(" in source for source in code):
                solution = ast.parse(solution_source(one))
                used = {node.id for node in ast.walk(solution) if isinstance(node, ast.Name)}
                own = {node.arg for node in ast.walk(solution) if isinstance(node, ast.arg)}
                own |= {
                    node.id
                    for node in ast.walk(solution)
                    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
                }
                assert used <= bound | own | set(dir(builtins)), f"{name}: {used - bound - own - set(dir(builtins))}"
