"""Experiments are values: frozen, typed configurations with named scales, and grids of them."""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

SCALES = ("smoke", "lab", "full")
C = TypeVar("C", bound="Config")
_MISSING = dataclasses.MISSING
_NEUTRAL = "neutral"  # where a field's metadata hold its neutral value
_HOLDS: dict[str, Callable[[float], bool]] = {  # what `limits` may say of a number
    "at least 0": lambda number: number >= 0,
    "at least 1": lambda number: number >= 1,
    "at least 2": lambda number: number >= 2,
    "more than 0": lambda number: number > 0,
    "more than 1": lambda number: number > 1,
    "0 to 1": lambda number: 0 <= number <= 1,
    "0 to less than 1": lambda number: 0 <= number < 1,
    "more than 0, up to 1": lambda number: 0 < number <= 1,
}


def resolve_scale(scale: str | None = None) -> str:
    """The scale in force: the one given, else the environment's LAB_SCALE, else `lab`.

    Raises ValueError for an unknown name.
    """
    chosen = scale if scale is not None else os.environ.get("LAB_SCALE") or "lab"
    if chosen not in SCALES:
        source = "scale" if scale is not None else "the environment variable LAB_SCALE"
        raise ValueError(f"{source} is {chosen!r}; expected one of {', '.join(SCALES)}")
    return chosen


def later(default: Any, *, neutral: Any = _MISSING) -> Any:
    """A field that was added to a config class after arms were recorded: `width: int = later(8, neutral=4)`.

    `neutral` is the value at which the code does what it did before the field existed; without it, the default. At
    that value the field is no part of the identity, so the recorded arms keep their digests. The field may hold a
    config, and its neutral value may be one, or None.
    """
    return dataclasses.field(default=default, metadata={_NEUTRAL: default if neutral is _MISSING else neutral})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration: a complete, typed, immutable value.

    A subclass is declared with `@dataclass(frozen=True, kw_only=True)`; its fields are numbers, strings,
    booleans, `None`, tuples of these, other configs, or tuples of configs. A field that a class gets after its
    arms were recorded is declared with `later`. `scales` names what a scale changes from the defaults, which are
    the full scale. When a value is made, field types are checked, then `limits`: by what is expected, as
    "at least 1", the fields whose numbers it holds for; then `faults`.
    """

    scales: ClassVar[dict[str, dict[str, Any]]] = {}
    limits: ClassVar[dict[str, str]] = {}
    endless: ClassVar[tuple[str, ...]] = ()  # the fields that may be infinite

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        cls.__eq__, cls.__hash__ = Config.__eq__, Config.__hash__  # before each dataclass gets those of a tuple

    def __eq__(self, other: object) -> bool:
        """Values of one class that are spelt the same are equal: True is not 1, as it is in tuples."""
        return type(self) is type(other) and _spelt(self) == _spelt(other)

    def __hash__(self) -> int:
        return hash(_spelt(self))

    def __post_init__(self):
        for name, hint, _ in _fields(type(self)):
            value = getattr(self, name)
            if (same := _fitted(value, hint)) is _MISSING:
                raise TypeError(f"{type(self).__name__}.{name} is {value!r}; expected {_spell(hint)}")
            if same is not value:  # 1 == 1.0 and 0.0 == -0.0, so both must have one digest
                object.__setattr__(self, name, same)
        for limits in (vars(kind).get("limits", {}) for kind in reversed(type(self).__mro__)):
            for limit, names in limits.items():
                for name, value in ((name, getattr(self, name)) for name in names.split()):
                    if not all(map(_HOLDS[limit], _numbers(value))):
                        each = "each " if isinstance(value, tuple) else ""
                        raise ValueError(f"{name} is {value}; expected {each}{limit}")
        for wrong, message in self.faults():
            if wrong:
                raise ValueError(message)
        for name, _, _ in _fields(type(self)):
            value, endless = getattr(self, name), "" if name in self.endless else ", all finite"
            if any(number != number or (endless and abs(number) == math.inf) for number in _numbers(value)):
                raise ValueError(f"{type(self).__name__}.{name} is {value}; expected numbers{endless}")

    def faults(self) -> Iterable[tuple[Any, str]]:
        """What a subclass checks beyond types and limits: whether a value is wrong, and the message that refuses it."""
        return ()

    @classmethod
    def at(cls: type[C], scale: str, **changes: Any) -> C:
        """The configuration at a named scale, with `changes` on top of it."""
        return cls(**{**cls.scales.get(resolve_scale(scale), {}), **changes})

    def replace(self: C, **changes: Any) -> C:
        """A copy with some fields changed; `model__width=64` reaches into the field `model`."""
        own: dict[str, Any] = {}
        nested: dict[str, dict[str, Any]] = {}
        names = {field.name for field in dataclasses.fields(self)}
        for key, value in changes.items():
            name, _, rest = key.partition("__")
            if name not in names:
                raise TypeError(f"{type(self).__name__} has no field {name!r}; it has {', '.join(sorted(names))}")
            (nested.setdefault(name, {}) if rest else own)[rest or name] = value
        for name, inner in nested.items():
            part = own.get(name, getattr(self, name))
            if not isinstance(part, Config):
                words = f"is {part!r}, no config: it has no field {next(iter(inner))!r}"
                raise TypeError(f"{type(self).__name__}.{name} {words}")
            own[name] = part.replace(**inner)
        return dataclasses.replace(self, **own)

    def flat(self, *, identity: bool = False) -> dict[str, Any]:
        """One dictionary of plain values, nested fields as `outer.inner`: the columns joined to a table.

        The configs of a tuple are numbered: `stages.0.window`. As `identity`, what tells this value from others, the
        later fields that have their neutral value are left out.
        """
        row: dict[str, Any] = {}
        for field, _, neutral in _fields(type(self)):
            value = getattr(self, field)
            if identity and type(value) is type(neutral) and _spelt(value) == _spelt(neutral):
                continue
            parts = {field: value}
            if isinstance(value, tuple) and any(isinstance(item, Config) for item in value):
                parts = {f"{field}.{i}": item for i, item in enumerate(value)}
            for name, part in parts.items():
                if not isinstance(part, Config):
                    row[name] = part
                elif inner := part.flat(identity=identity):
                    row |= {f"{name}.{key}": leaf for key, leaf in inner.items()}
                elif identity:  # a config at which all is neutral is still another value than None
                    row[name] = {}
        return row

    def digest(self, *salt: str | int) -> str:
        """Twelve hexadecimal digits that name this value (with `salt`, e.g. an experiment and its version).

        The names of classes and modules play no part: two values of the same identity have the same digest.
        """
        text = json.dumps([self.flat(identity=True), *salt], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def grid(base: C, **axes: Iterable[Any]) -> list[C]:
    """Every combination of the axes on top of `base`; the last axis varies fastest.

    >>> grid(SeesawConfig(), model__window=[8, 64], seed=range(5))  # doctest: +SKIP
    """
    names, values = list(axes), [list(axis) for axis in axes.values()]
    return [base.replace(**dict(zip(names, point, strict=True))) for point in itertools.product(*values)]


def by_scale(
    scale: str,
    full: Sequence[C],
    *,
    lab: int | Sequence[int | C] | None = None,
    smoke: int | Sequence[int | C] | None = None,
    seeds: int | Callable[[C], int] = 5,
) -> list[C]:
    """The arms that a scale asks for: the body of most `arms` functions.

    `full` lists the conditions, built for this scale. At full scale each runs with seeds 0 to `seeds` - 1, which may
    depend on the condition; seeds vary fastest. `lab` and `smoke` choose from `full` and add no seed: a number takes
    the first ones, a tuple of places takes these, other configs stand for themselves. `lab` is all of `full` unless
    said, `smoke` is what `lab` is. ValueError for a scale that does not exist or an arm that `full` does not have.

    >>> by_scale(scale, [way(scale, name) for name in WAYS], lab=2, smoke=(0, 3))  # doctest: +SKIP
    """
    if resolve_scale(scale) == "full":
        return [arm for cfg in full for arm in grid(cfg, seed=range(seeds(cfg) if callable(seeds) else seeds))]
    chosen = lab if scale == "lab" or smoke is None else smoke
    places = range(len(full) if chosen is None else chosen) if chosen is None or isinstance(chosen, int) else chosen
    if any(isinstance(place, int) and not 0 <= place < len(full) for place in places):
        raise ValueError(f"{scale} asks for arms {list(places)} of {len(full)}; expected places below that")
    return [full[place] if isinstance(place, int) else place for place in places]


@functools.cache
def _fields(kind: type[Config]) -> tuple[tuple[str, Any, Any], ...]:
    """Name, type and neutral value of each field; `MISSING` where the field has been there from the beginning."""
    hints, found = get_type_hints(kind), []
    for field in dataclasses.fields(kind):
        hint, neutral = hints[field.name], field.metadata.get(_NEUTRAL, _MISSING)
        if neutral is not _MISSING:
            words = f"the neutral value of {kind.__name__}.{field.name} is {neutral!r}; expected {_spell(hint)}"
            if (neutral := _fitted(neutral, hint)) is _MISSING:
                raise TypeError(words)
        found.append((field.name, hint, neutral))
    return tuple(found)


def _spelt(value: Any) -> str:
    """What a value holds, as text, in which types count."""
    return json.dumps(
        value, sort_keys=True, default=lambda part: part.flat() if isinstance(part, Config) else repr(part)
    )


def _fitted(value: Any, hint: Any) -> Any:
    """The value in the one form that its equals have under the hint, or `MISSING` where it does not fit.

    Whole numbers are floats where the hint says float alone, whole floats are integers where it says both.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        if {int, float} <= {*args} and isinstance(value, int | float) and not isinstance(value, bool):
            return _number(value)
        return next((same for arg in args if (same := _fitted(value, arg)) is not _MISSING), _MISSING)
    if origin is tuple:
        items = args[:1] * len(value) if isinstance(value, tuple) and args[-1] is Ellipsis else args
        if not isinstance(value, tuple) or len(value) != len(items):
            return _MISSING
        same = tuple(map(_fitted, value, items))
        return _MISSING if any(item is _MISSING for item in same) else same
    if origin is Literal:
        return next((arg for arg in args if value == arg and type(value) is type(arg)), _MISSING)
    return _plain(value) if hint is Any else _of_type(value, hint)


def _of_type(value: Any, kind: type) -> Any:
    """The value as Python's own number or text, also where numpy or an enumeration derives from them."""
    if kind in (int, float) and isinstance(value, bool):
        return _MISSING
    if kind is float and isinstance(value, int | float):
        return _float(value)
    if not isinstance(value, kind):
        return _MISSING
    return int(value) if kind is int else str.__str__(value) if kind is str else value


def _float(value: int | float) -> Any:
    """0.0 also for -0.0; `MISSING` for a whole number that no float is equal to."""
    try:
        same = float(value) + 0.0
    except OverflowError:
        return _MISSING
    return same if same == value or same != same else _MISSING


def _number(value: int | float) -> int | float:
    """An integer where one is equal to it."""
    return int(value) if isinstance(value, int) or value.is_integer() else float(value)


def _plain(value: Any) -> Any:
    """What any field may hold: numbers, text, True, False, None, configs, tuples (lists become such); or `MISSING`."""
    if isinstance(value, list | tuple):
        same = tuple(map(_plain, value))
        return _MISSING if any(item is _MISSING for item in same) else same
    if value is None or isinstance(value, bool | Config):
        return value
    return _number(value) if isinstance(value, int | float) else _of_type(value, str)


def _numbers(value: Any) -> list[int | float]:
    """The number that a field holds, or those of its tuple."""
    return [n for n in (value if isinstance(value, tuple) else (value,)) if isinstance(n, int | float)]


def _spell(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_spell(arg) for arg in get_args(hint))
    if hint in (NoneType, Any):
        return "None" if hint is NoneType else "numbers, text, True, False, None, or tuples of these"
    return str(hint) if get_origin(hint) else getattr(hint, "__name__", str(hint))
