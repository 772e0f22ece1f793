"""Configurations are values: checked when made, immutable, and named by what they hold."""

import dataclasses
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import pytest

from lablib.core.config import SCALES, Config, by_scale, grid, later, resolve_scale


@dataclass(frozen=True, kw_only=True)
class Inner(Config):
    width: int = 4
    rate: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Outer(Config):
    seed: int = 0
    kind: Literal["a", "b"] = "a"
    parts: Literal[1, 2] = 1
    note: str | None = None
    sizes: tuple[int, ...] = (1, 2)
    pair: tuple[int, float] = (1, 2.0)
    flag: bool = False
    inner: Inner = Inner()

    scales: ClassVar[dict[str, dict[str, Any]]] = {"smoke": {"seed": 7, "inner": Inner(width=2)}, "full": {}}


WRONG = [
    ("seed", 1.5, "int"),
    ("seed", True, "int"),
    ("seed", "1", "int"),
    ("seed", None, "int"),
    ("kind", "c", "one of 'a', 'b'"),
    ("parts", 3, "one of 1, 2"),
    ("note", 3, "str or None"),
    ("flag", 1, "bool"),
    ("inner", {"width": 4}, "Inner"),
    ("sizes", [1, 2], "tuple[int, ...]"),
    ("sizes", (1, "2"), "tuple[int, ...]"),
    ("pair", (1,), "tuple[int, float]"),
    ("pair", (1.5, 2.0), "tuple[int, float]"),
]


@pytest.mark.parametrize(("field", "value", "expected"), WRONG, ids=[f"{f}={v!r}" for f, v, _ in WRONG])
def test_a_wrong_type_is_refused_by_field_value_and_what_was_expected(field, value, expected):
    with pytest.raises(TypeError, match=re.escape(f"Outer.{field} is {value!r}; expected {expected}")):
        Outer(**{field: value})


@pytest.mark.parametrize("value", [True, 1.0], ids=repr)
def test_a_literal_takes_its_own_values_and_not_what_merely_equals_them(value):
    with pytest.raises(TypeError, match=r"Outer\.parts"):
        Outer(parts=value)


def test_a_whole_number_is_a_float():
    assert Inner(rate=1).rate == 1
    assert Outer(pair=(1, 2)).pair == (1, 2)


def test_replaced_values_are_checked_too():
    with pytest.raises(TypeError, match=r"Inner\.width is 'wide'; expected int"):
        Outer().replace(inner__width="wide")


def test_a_value_cannot_be_changed_in_place():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Outer().seed = 3


def test_fields_are_given_by_name():
    with pytest.raises(TypeError):
        Outer(3)


def test_replace_changes_what_it_names_and_leaves_the_original_alone():
    before = Outer()
    after = before.replace(seed=3, inner__width=9)
    assert (after.seed, after.inner.width, after.inner.rate) == (3, 9, 0.5)
    assert before == Outer()


def test_replacing_a_field_and_a_part_of_it_does_both():
    after = Outer().replace(inner=Inner(rate=0.25), inner__width=9)
    assert after.inner == Inner(width=9, rate=0.25)


@pytest.mark.parametrize("name", ["sead", "inner__widht", "outer__inner__width"])
def test_an_unknown_field_is_named_beside_the_ones_there_are(name):
    wrong, there = (name.rsplit("__")[-1], "rate, width") if name.startswith("inner") else (name.split("__")[0], "seed")
    with pytest.raises(TypeError, match=f"has no field '{wrong}'.*{there}"):
        Outer().replace(**{name: 1})


def test_reaching_into_a_field_that_is_no_config_is_refused_by_name():
    with pytest.raises(TypeError, match="seed"):
        Outer().replace(seed__low=1)


def test_flat_holds_every_leaf_once_under_its_dotted_name():
    assert Outer(seed=2, inner=Inner(width=8)).flat() == {
        "seed": 2,
        "kind": "a",
        "parts": 1,
        "note": None,
        "sizes": (1, 2),
        "pair": (1, 2.0),
        "flag": False,
        "inner.width": 8,
        "inner.rate": 0.5,
    }


def test_the_digest_is_the_same_in_another_process():
    program = (
        "from dataclasses import dataclass\n"
        "from lablib.core.config import Config\n"
        "@dataclass(frozen=True, kw_only=True)\n"
        "class Inner(Config):\n"
        "    width: int = 4\n"
        "    rate: float = 0.5\n"
        "print(Inner(rate=0.1).digest('name', 1))"
    )
    for seed in ("0", "1"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == Inner(rate=0.1).digest("name", 1), done.stderr


CHANGES = {
    "seed": 1,
    "kind": "b",
    "parts": 2,
    "note": "x",
    "sizes": (1, 2, 3),
    "pair": (1, 2.5),
    "flag": True,
    "inner__width": 5,
    "inner__rate": 0.25,
}


@pytest.mark.parametrize("field", CHANGES)
def test_the_digest_differs_by_each_field(field):
    assert Outer().replace(**{field: CHANGES[field]}).digest() != Outer().digest()


def test_every_field_of_the_example_is_tried():
    assert {name.replace("__", ".") for name in CHANGES} == set(Outer().flat())


def test_the_digest_differs_by_salt():
    names = [Inner().digest(), Inner().digest("a"), Inner().digest("a", 1), Inner().digest("a", 2)]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)


def test_the_names_of_classes_and_modules_play_no_part_in_the_digest():
    @dataclass(frozen=True, kw_only=True)
    class Renamed(Config):
        width: int = 4
        rate: float = 0.5

    @dataclass(frozen=True, kw_only=True)
    class Holder(Config):
        part: Inner | Renamed

    Renamed.__module__ = "elsewhere"
    assert Renamed().digest("a", 1) == Inner().digest("a", 1)
    assert Holder(part=Renamed()).digest() == Holder(part=Inner()).digest()


@dataclass(frozen=True, kw_only=True)
class Before(Config):
    seed: int = 0
    inner: Inner = Inner()
    stages: tuple[Inner, ...] = (Inner(), Inner(width=5))


@dataclass(frozen=True, kw_only=True)
class GrownInner(Inner):
    groups: int = later(1)


@dataclass(frozen=True, kw_only=True)
class Grown(Config):
    seed: int = 0
    inner: GrownInner = GrownInner()
    stages: tuple[GrownInner, ...] = (GrownInner(), GrownInner(width=5))
    epsilon: float = later(1e-6, neutral=1)  # recorded arms had 1.0, new ones have a better default
    extra: Inner | None = later(None)
    router: Inner = later(Inner(width=8), neutral=Inner())
    shares: tuple[float, ...] = later((1, 2))


OLD = {"epsilon": 1.0, "router": Inner()}  # where the defaults are not what the arms of before had
NEW = {
    "epsilon": 1e-6,
    "inner__groups": 2,
    "stages": (GrownInner(), GrownInner(width=5, groups=2)),
    "extra": Inner(),
    "router": Inner(width=8),
    "router__rate": 0.25,
    "shares": (1.0,),
}


def test_a_later_field_at_its_neutral_value_is_no_part_of_the_identity():
    assert Grown(**OLD).flat(identity=True) == Before().flat(identity=True) == Before().flat()
    assert Grown(**OLD).digest("a", 1) == Before().digest("a", 1)
    assert Grown(epsilon=1, router=Inner(), shares=(1.0, 2.0)).digest() == Before().digest()
    assert Grown(seed=1, **OLD).digest() == Before(seed=1).digest() != Before().digest()


def test_any_other_value_of_a_later_field_gives_another_digest():
    values = [Before(), Grown(), *(Grown(**OLD).replace(**{name: value}) for name, value in NEW.items())]
    digests = [value.digest() for value in values]
    assert len(set(digests)) == len(digests)


def test_a_later_config_without_a_telling_field_is_not_none():
    @dataclass(frozen=True, kw_only=True)
    class Adapter(Config):
        rank: int = later(0)

    @dataclass(frozen=True, kw_only=True)
    class Adapted(Config):
        adapter: Adapter | None = later(None)

    digests = {Adapted(adapter=adapter).digest() for adapter in (None, Adapter(), Adapter(rank=1))}
    assert len(digests) == 3
    assert Adapted().digest() == Config().digest()


def test_the_columns_of_a_table_hold_later_fields_at_any_value():
    found = Grown(**OLD).flat()
    assert {"epsilon": 1.0, "inner.groups": 1, "stages.1.groups": 1, "extra": None, "router.width": 4}.items() <= (
        found.items()
    )


def test_true_is_not_the_neutral_value_one():
    @dataclass(frozen=True, kw_only=True)
    class Both(Config):
        value: int | bool = later(1)

    assert Both(value=True).flat(identity=True) == {"value": True}
    assert Both().flat(identity=True) == {}


@pytest.mark.parametrize("neutral", ["4", 0.5, None, True])
def test_a_neutral_value_of_a_wrong_type_is_refused(neutral):
    @dataclass(frozen=True, kw_only=True)
    class Wrong(Config):
        width: int = later(4, neutral=neutral)

    with pytest.raises(TypeError, match=re.escape(f"neutral value of Wrong.width is {neutral!r}; expected int")):
        Wrong()


def test_a_scale_changes_what_it_names_and_the_caller_has_the_last_word():
    assert Outer.at("full") == Outer()
    assert Outer.at("lab") == Outer()
    assert Outer.at("smoke") == Outer(seed=7, inner=Inner(width=2))
    assert Outer.at("smoke", seed=3) == Outer(seed=3, inner=Inner(width=2))


@pytest.mark.parametrize("scale", SCALES)
def test_a_known_scale_is_itself_whatever_the_environment_says(scale, monkeypatch):
    monkeypatch.setenv("LAB_SCALE", "lab" if scale == "smoke" else "smoke")
    assert resolve_scale(scale) == scale


def test_without_a_scale_the_environment_decides_and_else_it_is_lab(monkeypatch):
    assert resolve_scale() == "lab"
    monkeypatch.setenv("LAB_SCALE", "smoke")
    assert resolve_scale() == "smoke"
    monkeypatch.setenv("LAB_SCALE", "")
    assert resolve_scale() == "lab"


@pytest.mark.parametrize("scale", ["Smoke", "tiny", ""])
def test_an_unknown_scale_is_refused_with_the_names_there_are(scale):
    with pytest.raises(ValueError, match=f"^scale is '{scale}'; expected one of smoke, lab, full"):
        Outer.at(scale)


def test_an_unknown_scale_from_the_environment_is_blamed_on_the_environment(monkeypatch):
    monkeypatch.setenv("LAB_SCALE", "huge")
    with pytest.raises(ValueError, match=r"LAB_SCALE is 'huge'; expected one of smoke, lab, full"):
        resolve_scale()


def test_a_grid_is_every_combination_and_the_last_axis_varies_fastest():
    arms = grid(Outer(), inner__width=[8, 64], seed=(seed for seed in range(3)))
    assert [(arm.inner.width, arm.seed) for arm in arms] == [(8, 0), (8, 1), (8, 2), (64, 0), (64, 1), (64, 2)]
    assert grid(Outer()) == [Outer()]
    assert grid(Outer(), seed=[]) == []


CONDITIONS = [Outer(kind="a"), Outer(kind="b"), Outer(parts=2)]


def test_the_full_scale_runs_every_condition_with_seeds_that_vary_fastest():
    found = by_scale("full", CONDITIONS, lab=1, seeds=2)
    assert found == [cfg.replace(seed=seed) for cfg in CONDITIONS for seed in (0, 1)]
    assert len(by_scale("full", CONDITIONS)) == 15
    mixed = by_scale("full", CONDITIONS, seeds=lambda cfg: 2 if cfg.kind == "b" else 1)
    assert [(cfg.kind, cfg.seed) for cfg in mixed] == [("a", 0), ("b", 0), ("b", 1), ("a", 0)]


@pytest.mark.parametrize(
    ("lab", "smoke", "at_lab", "at_smoke"),
    [
        (None, None, CONDITIONS, CONDITIONS),
        (2, None, CONDITIONS[:2], CONDITIONS[:2]),
        (2, 1, CONDITIONS[:2], CONDITIONS[:1]),
        (None, (2, 0), CONDITIONS, [CONDITIONS[2], CONDITIONS[0]]),
        ([Outer(seed=4)], [Outer(seed=5)], [Outer(seed=4)], [Outer(seed=5)]),
        (1, 0, CONDITIONS[:1], []),
    ],
    ids=["all", "the first", "fewer at smoke", "places", "others", "none"],
)
def test_the_smaller_scales_take_what_they_are_told_and_add_no_seed(lab, smoke, at_lab, at_smoke):
    assert by_scale("lab", CONDITIONS, lab=lab, smoke=smoke) == at_lab
    assert by_scale("smoke", CONDITIONS, lab=lab, smoke=smoke) == at_smoke


@pytest.mark.parametrize("places", [4, (0, 3), (-1,)])
def test_an_arm_that_is_not_there_is_refused(places):
    with pytest.raises(ValueError, match=r"lab asks for arms \[.*\] of 3; expected places below that"):
        by_scale("lab", CONDITIONS, lab=places)


def test_arms_of_an_unknown_scale_are_refused():
    with pytest.raises(ValueError, match="scale is 'tiny'; expected one of"):
        by_scale("tiny", CONDITIONS)
