"""How the import hook of `--jaxtyping-packages` checks a call: by beartype in a few microseconds, not tens of them.

jaxtyping's own decorator binds the arguments of every call and checks them twice, so that it can word a mistake well.
Here a call is checked once. Only one that beartype objects to goes to jaxtyping, which judges it and finds the words.
"""

import dataclasses
import functools
import inspect
import typing
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

_JAXTYPED = jaxtyping.jaxtyped


class _Objection(TypeError):
    """What beartype has to say of a call."""


_TYPED = beartype(conf=BeartypeConf(violation_type=_Objection))


def install() -> None:
    """From now on the hook, which asks jaxtyping for its decorator, gets this one."""
    jaxtyping.jaxtyped = checked


def checked(*, typechecker: Any) -> Any:
    """As the hook calls it: a decorator of classes and functions."""
    return functools.partial(_checked, typechecker=typechecker)


def _checked(thing: Any, *, typechecker: Any) -> Any:
    if inspect.isclass(thing):
        made = vars(thing).get("__init__")
        if dataclasses.is_dataclass(thing) and made is not None and not hasattr(made, "__wrapped__"):
            thing.__init__ = _checked(made, typechecker=typechecker)
        return thing
    if not inspect.isfunction(thing) or inspect.isgeneratorfunction(thing) or not _is_understood(thing):
        return _JAXTYPED(thing, typechecker=typechecker)
    typed = _TYPED(thing)

    @functools.wraps(thing)
    def quick(*args: Any, **kwargs: Any) -> Any:
        try:
            with _JAXTYPED("context"):  # in which a name in a shape stands for one size
                return typed(*args, **kwargs)
        except _Objection:
            return _JAXTYPED(thing, typechecker=typechecker)(*args, **kwargs)

    return quick


def _is_understood(function: Any) -> bool:
    """Whether beartype can judge by the types alone.

    It cannot where a class is still to be made or is there for editors only, nor where a shape holds an argument.
    """
    try:
        hints = typing.get_type_hints(function)
    except Exception:
        return False
    return "{" not in str(hints.values())
