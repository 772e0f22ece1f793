"""Experiments are values: frozen, typed configurations with named scales, and grids of them."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

SCALES = ("smoke", "lab", "full")
C = TypeVar("C", bound="Config")


def resolve_scale(scale: str | None = None) -> str:
    """The scale in force: the one given, else the environment's LAB_SCALE, else `lab`.

    Raises ValueError for an unknown name.
    """
    chosen = scale if scale is not None else os.environ.get("LAB_SCALE") or "lab"
    if chosen not in SCALES:
        source = "scale" if scale is not None else "the environment variable LAB_SCALE"
        raise ValueError(f"{source} is {chosen!r}; expected one of {', '.join(SCALES)}")
    return chosen


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Base of every configuration: a complete, typed, immutable value.

    A subclass is declared with `@dataclass(frozen=True, kw_only=True)`; its fields are numbers, strings,
    booleans, `None`, tuples of these, other configs, or tuples of configs. `scales` names what a scale changes
    from the defaults, which are the full scale. Field types are checked when a value is made.
    """

    scales: ClassVar[dict[str, dict[str, Any]]] = {}

    def __post_init__(self):
        hints = get_type_hints(type(self))
        for field in dataclasses.fields(self):
            value, hint = getattr(self, field.name), hints[field.name]
            if not _matches(value, hint):
                raise TypeError(f"{type(self).__name__}.{field.name} is {value!r}; expected {_spell(hint)}")
            if (same := _floats(value, hint)) is not value:  # 1 == 1.0, so both must have one digest
                object.__setattr__(self, field.name, same)

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
            if rest:
                nested.setdefault(name, {})[rest] = value
            else:
                own[name] = value
        for name, inner in nested.items():
            part = own.get(name, getattr(self, name))
            if not isinstance(part, Config):
                raise TypeError(
                    f"{type(self).__name__}.{name} is {part!r}, no config: it has no field {next(iter(inner))!r}"
                )
            own[name] = part.replace(**inner)
        return dataclasses.replace(self, **own)

    def flat(self) -> dict[str, Any]:
        """One dictionary of plain values, nested fields as `outer.inner`: the columns joined to a table.

        The configs of a tuple are numbered: `stages.0.window`.
        """
        row: dict[str, Any] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            parts = {field.name: value}
            if isinstance(value, tuple) and value and all(isinstance(item, Config) for item in value):
                parts = {f"{field.name}.{i}": item for i, item in enumerate(value)}
            for name, part in parts.items():
                nested = isinstance(part, Config)
                row |= {f"{name}.{key}": inner for key, inner in part.flat().items()} if nested else {name: part}
        return row

    def digest(self, *salt: str | int) -> str:
        """Twelve hexadecimal digits that name this value (with `salt`, e.g. an experiment and its version)."""
        text = json.dumps([type(self).__name__, self.flat(), *salt], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def grid(base: C, **axes: Iterable[Any]) -> list[C]:
    """Every combination of the axes on top of `base`; the last axis varies fastest.

    >>> grid(SeesawConfig(), model__window=[8, 64], seed=range(5))  # doctest: +SKIP
    """
    names, values = list(axes), [list(axis) for axis in axes.values()]
    return [base.replace(**dict(zip(names, point, strict=True))) for point in itertools.product(*values)]


def _matches(value: Any, hint: Any) -> bool:
    origin, args = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin is Literal:
        return any(value == arg and type(value) is type(arg) for arg in args)
    if origin in (Union, UnionType):
        return any(_matches(value, arg) for arg in args)
    if origin is tuple:
        items = args[:1] * len(value) if isinstance(value, tuple) and args[-1] is Ellipsis else args
        return (
            isinstance(value, tuple)
            and len(value) == len(items)
            and all(_matches(v, t) for v, t in zip(value, items, strict=True))
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _floats(value: Any, hint: Any) -> Any:
    """The value with whole numbers made floats where the hint says float, also inside tuples and unions."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is float:
        return float(value)
    if origin in (Union, UnionType):
        return next(_floats(value, arg) for arg in args if _matches(value, arg))
    if origin is tuple:
        items = args[:1] * len(value) if args[-1] is Ellipsis else args
        same = tuple(_floats(v, t) for v, t in zip(value, items, strict=True))
        return same if any(a is not b for a, b in zip(same, value, strict=True)) else value
    return value


def _spell(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(repr, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_spell(arg) for arg in get_args(hint))
    if hint is NoneType:
        return "None"
    return str(hint) if get_origin(hint) else getattr(hint, "__name__", str(hint))
