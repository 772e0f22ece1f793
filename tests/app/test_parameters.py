"""Text from the command line is read by the type that the parameters cell declares, or refused."""

import pytest

from lablib.app.errors import BadInput
from lablib.app.parameters import declared

CELL = """\
# what this notebook takes
seed: int = 0  # the random seed
rate: float = 0.1  # learning rate
name: str = "a"  # a label
fast: bool = True
scale: str | None = None  # smoke, lab or full
count: int | str = 3
kind: "Literal['a', 'b']" = "a"
windows: list[int] = [8, 64]
pair: tuple[int, float] = (1, 2.0)
many: tuple[float, ...] = ()
guess: Optional[float] = None  # the reader's prediction
old = 3  # without a type
blank = None
odd: dict[str, int] = {}
import os
"""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("seed", "7", 7),
        ("seed", "-3", -3),
        ("rate", "1e-3", 1e-3),
        ("rate", "2", 2.0),
        ("name", "007", "007"),
        ("fast", "no", False),
        ("scale", "None", None),
        ("scale", "lab", "lab"),
        ("count", "5", 5),
        ("count", "many", "many"),
        ("kind", "b", "b"),
        ("windows", "8,64", [8, 64]),
        ("windows", "[8]", [8]),
        ("pair", "(3, 0.5)", [3, 0.5]),
        ("many", "1,2", [1.0, 2.0]),
        ("guess", "0.5", 0.5),
        ("guess", "none", None),
        ("old", "4", 4),
    ],
)
def test_text_becomes_a_value_of_the_declared_type(name, text, value):
    found = declared(CELL)[name].read(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("seed", "1.5"),
        ("seed", "many"),
        ("seed", ""),
        ("rate", "fast"),
        ("fast", "maybe"),
        ("kind", "c"),
        ("windows", "8,x"),
        ("windows", "[8, 0.5]"),
        ("pair", "1"),
        ("odd", "{}"),
        ("blank", "1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(name, text):
    with pytest.raises(BadInput) as caught:
        declared(CELL)[name].read(text)
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_the_refusal_says_type_and_comment():
    with pytest.raises(BadInput, match=r"seed=many does not fit; seed is int \(the random seed\)"):
        declared(CELL)["seed"].read("many")


def test_declared_keeps_order_defaults_and_comments():
    found = declared(CELL)
    assert list(found)[:3] == ["seed", "rate", "name"]
    assert "os" not in found
    assert found["windows"].default == [8, 64]
    assert found["guess"].comment == "the reader's prediction"


def test_a_cell_that_is_not_plain_python_is_a_syntax_error():
    with pytest.raises(SyntaxError):
        declared("%matplotlib inline\nseed: int = 0")
