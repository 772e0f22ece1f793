"""Act on parts of a model by name: select with globs, freeze, replace. Compiled parts keep their plain names."""

import fnmatch
from collections.abc import Callable

from torch import nn

_INSIDE = "_orig_mod"  # what torch.compile calls the module that it wraps


def plain_name(name: str) -> str:
    """The dotted name of a module, parameter or tensor as if nothing were compiled."""
    return ".".join(part for part in name.split(".") if part != _INSIDE)


def plain_module(module: nn.Module) -> nn.Module:
    """The module itself, also where torch.compile has wrapped it."""
    return getattr(module, _INSIDE, module)


def select(model: nn.Module, pattern: str, *, count: int, kind: type[nn.Module] = nn.Module) -> dict[str, nn.Module]:
    """Submodules of a kind whose dotted name matches the glob, such as `blocks.*.mlp`; `*` also spans dots.

    `count` is how many there must be: a pattern that silently matches nothing is the usual mistake. Raises ValueError.
    """
    named: dict[str, nn.Module] = {}
    for name, module in model.named_modules():
        if isinstance(plain_module(module), kind):
            named.setdefault(plain_name(name), module)  # of a compiled module the wrapper, which is what is called
    found = {name: module for name, module in named.items() if name and fnmatch.fnmatchcase(name, pattern)}
    if len(found) != count:
        raise ValueError(f"{pattern!r} matches {len(found)} modules, expected {count}: {', '.join(found) or 'none'}")
    return found


def train_only(model: nn.Module, pattern: str, *, count: int) -> None:
    """Freeze all parameters but those whose dotted name matches the glob; ValueError unless there are `count`."""
    chosen = [p for name, p in model.named_parameters() if fnmatch.fnmatchcase(plain_name(name), pattern)]
    if len(chosen) != count:
        raise ValueError(f"{pattern!r} matches {len(chosen)} parameters, expected {count}")
    model.requires_grad_(False)
    for parameter in chosen:
        parameter.requires_grad_(True)


def freeze(model: nn.Module, pattern: str, *, count: int) -> None:
    """Stop training every parameter of the selected submodules."""
    for module in select(model, pattern, count=count).values():
        module.requires_grad_(False)


def replace(
    model: nn.Module,
    pattern: str,
    build: Callable[[nn.Module], nn.Module],
    *,
    count: int,
    kind: type[nn.Module] = nn.Module,
) -> None:
    """Put `build(old)` in the place of each selected submodule: in all its places, where layers share it."""
    places = []
    for name, module in model.named_modules(remove_duplicate=False):
        parent, _, leaf = name.rpartition(".")
        places.append((module, model.get_submodule(parent), leaf))
    for old in select(model, pattern, count=count, kind=kind).values():
        new = build(old)
        for module, parent, leaf in places:
            if module is old:
                setattr(parent, leaf, new)
