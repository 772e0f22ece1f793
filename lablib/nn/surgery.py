"""Act on parts of a model by name: select with globs, freeze, replace."""

import fnmatch
from collections.abc import Callable

from torch import nn


def select(model: nn.Module, pattern: str, *, count: int) -> dict[str, nn.Module]:
    """Submodules whose dotted name matches the glob, such as `blocks.*.mlp`; `*` also spans dots.

    `count` is how many there must be: a pattern that silently matches nothing is the usual mistake. Raises ValueError.
    """
    found = {name: module for name, module in model.named_modules() if name and fnmatch.fnmatchcase(name, pattern)}
    if len(found) != count:
        raise ValueError(f"{pattern!r} matches {len(found)} modules, expected {count}: {', '.join(found) or 'none'}")
    return found


def freeze(model: nn.Module, pattern: str, *, count: int) -> None:
    """Stop training every parameter of the selected submodules."""
    for module in select(model, pattern, count=count).values():
        module.requires_grad_(False)


def replace(model: nn.Module, pattern: str, build: Callable[[nn.Module], nn.Module], *, count: int) -> None:
    """Put `build(old)` in the place of each selected submodule."""
    for name, module in select(model, pattern, count=count).items():
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, build(module))
