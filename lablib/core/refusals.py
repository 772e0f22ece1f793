"""Refuse what cannot be meant, where it comes in: what came, and what was expected."""

from typing import Any


def at_least(least: int | float, **given: int | float) -> None:
    """ValueError for given numbers below `least` (or NaN), which names them."""
    if bad := {name: value for name, value in given.items() if not value >= least}:
        came = ", ".join(f"{name} is {value}" for name, value in bad.items())
        raise ValueError(f"{came}; expected at least {least}")


def known_ids(vocab: int, **given: Any) -> None:
    """ValueError for tensors with other token ids than 0 to `vocab` - 1, which names them."""
    for name, ids in given.items():
        if ids.is_floating_point():
            raise ValueError(f"{name} are {ids.dtype}; expected whole numbers, token ids")
        lowest, highest = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
        if lowest < 0 or highest >= vocab:
            raise ValueError(f"{name} hold ids from {lowest} to {highest}; expected 0 to {vocab - 1}")
