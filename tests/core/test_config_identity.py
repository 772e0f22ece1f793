"""Equal configurations have equal digests and different ones different digests; those on record stay what they were."""

import enum
import itertools
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pytest

from lablib.core.config import Config, grid, later
from lablib.core.experiment import all_experiments
from lablib.core.store import Record


@dataclass(frozen=True, kw_only=True)
class Part(Config):
    rate: float = 0.5
    groups: int = later(1)


@dataclass(frozen=True, kw_only=True)
class Whole(Config):
    endless = ("rate", "either")

    rate: float = 0.5
    count: int = 1
    either: int | float = 1
    reverse: float | int | None = 1
    flag: bool | int = 1
    name: str = "a"
    kind: Literal["a", 1, True] = "a"
    rates: tuple[float, ...] = (0.5,)
    pair: tuple[int | float, str | None] = (1, None)
    part: Part | None = None
    parts: tuple[Part | None, ...] = ()
    anything: Any = None
    grown: tuple[int | bool, ...] = later((1,))


class Word(str, enum.Enum):  # noqa: UP042, the kind whose str() is not its text
    A = "a"


class Number(enum.IntEnum):
    ONE = 1


HALF = np.float64(0.5)
EQUAL = {
    "whole as float": ({"rate": 1}, {"rate": 1.0}),
    "zeros": ({"rate": -0.0}, {"rate": 0.0}, {"rate": 0}),
    "zeros in a tuple": ({"rates": (-0.0, 1)}, {"rates": (0.0, 1.0)}),
    "numpy's float": ({"rate": 0.5}, {"rate": HALF}),
    "int or float": ({"either": 3}, {"either": 3.0}, {"either": np.float64(3)}),
    "float or int": ({"reverse": 3}, {"reverse": 3.0}),
    "int or float, zeros": ({"either": 0}, {"either": -0.0}),
    "int or float in a tuple": ({"pair": (2, "x")}, {"pair": (2.0, "x")}),
    "enumerated text": ({"name": "a"}, {"name": Word.A}, {"name": np.str_("a")}),
    "enumerated number": ({"count": 1}, {"count": Number.ONE}),
    "endless": ({"rate": math.inf}, {"rate": np.float64("inf")}),
    "anything whole": ({"anything": 1}, {"anything": 1.0}),
    "anything listed": ({"anything": (1, (2, -0.0))}, {"anything": [1.0, [2, 0]]}),
    "a config within": ({"part": Part(rate=1)}, {"part": Part(rate=1.0, groups=1)}),
    "configs within": ({"parts": (Part(rate=0), None)}, {"parts": (Part(rate=-0.0), None)}),
    "neutral": ({}, {"grown": (1,)}),
}
ALL = [
    *({"rate": value} for value in (1, 0.5 + 1e-16, 5e-324, 0, math.inf, -math.inf, 2**53)),
    *({"count": value} for value in (0, 2**53, 2**53 + 1, 10**400)),
    *({"either": value} for value in (2, 0.5, 2**53 + 1, 2**53, math.inf)),
    *({"flag": value} for value in (True, False, 0)),
    *({"name": value} for value in ("1", "", "None", "NaN", "a b")),
    *({"kind": value} for value in (1, True)),
    *({"rates": value} for value in ((), (0.5, 0.5), (1,))),
    *({"pair": value} for value in ((1, "None"), (0.5, None))),
    *({"part": value} for value in (Part(), Part(rate=1), Part(groups=2))),
    *({"parts": value} for value in ((Part(),), (Part(), None), (None,), (None, Part()), (Part(), Part()))),
    *({"anything": value} for value in (0, False, "", "0", (), (0,), ("0",), (False,), 0.5, Part())),
    *({"grown": value} for value in ((True,), (1, 1), ())),
    {},
]


@pytest.mark.parametrize("fields", EQUAL.values(), ids=EQUAL)
def test_equal_values_are_equal_hash_alike_and_have_one_digest(fields):
    first, *others = (Whole(**one) for one in fields)
    for other in others:
        assert first == other
        assert hash(first) == hash(other)
        assert first.digest("x", 1) == other.digest("x", 1)
        assert json.dumps(first.flat()) == json.dumps(other.flat())


def test_different_values_differ_and_so_do_their_digests():
    values = [Whole(**fields) for fields in ALL]
    for one, other in itertools.combinations(values, 2):
        assert one != other
        assert one.digest() != other.digest(), (one, other)
    assert len(set(values)) == len(values)


def test_fields_hold_pythons_own_numbers_and_text():
    made = Whole(rate=HALF, count=Number.ONE, name=Word.A, anything=[np.float64(2), Word.A])
    assert [type(value) for value in (made.rate, made.count, made.name)] == [float, int, str]
    assert (made.name, made.anything) == ("a", (2, "a"))
    assert [type(value) for value in made.anything] == [int, str]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("rate", True), ("rate", 2**53 + 1), ("rate", 10**400), ("rate", np.float32(0.5)), ("rate", "0.5"),
        ("count", np.int64(1)), ("count", 1.0), ("either", True), ("either", "1"), ("kind", 1.0),
        ("anything", {"a": 1}), ("anything", {1}), ("anything", [np.int64(1)]), ("anything", b"a"), ("rates", [0.5]),
        ("kind", np.str_("a")),
    ],
)  # fmt: skip
def test_what_has_no_form_of_its_own_is_refused(field, value):
    with pytest.raises(TypeError, match=re.escape(f"Whole.{field} is {value!r}; expected ")):
        Whole(**{field: value})


def test_a_class_is_part_of_a_value_and_not_of_its_digest():
    @dataclass(frozen=True, kw_only=True)
    class Other(Part):
        pass

    assert Other() != Part()
    assert Other().digest() == Part().digest()
    assert Part() != 0.5


def test_arms_that_are_equal_are_one_arm():
    assert len(dict.fromkeys(grid(Whole(), rate=(0, -0.0, math.inf, math.inf), either=(1, 1.0)))) == 2


@pytest.mark.parametrize("name", all_experiments())
def test_every_recorded_digest_is_still_that_of_its_configuration(name):
    experiment = all_experiments()[name]
    today = {json.dumps(cfg.flat(), sort_keys=True): experiment.digest(cfg) for cfg in experiment.arms("full")}
    lines = [line for line in Record().headers(name) if line["version"] == experiment.version]
    known = {line["digest"]: json.dumps(line["config"], sort_keys=True) for line in lines}
    spelt = {digest: config for digest, config in known.items() if config in today}  # others had fewer fields
    assert {digest: today[config] for digest, config in spelt.items()} == {digest: digest for digest in spelt}
    assert set(known) <= set(today.values()), "those with fewer fields too"
