"""Where trained weights are kept, so that a training is resumed and shared by arms; and when they are done again."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from lablib.core.store import lab_home

# Raise it when what a checkpoint holds changes: older ones then count as not there, instead of as broken.
FORMAT = 2

# inside `training_anew(True)`, the names whose old weights are gone already
_renewed: ContextVar[set[str] | None] = ContextVar("renewed", default=None)


@contextmanager
def training_anew(anew: bool) -> Iterator[None]:
    """Inside the block weights from before it do not count, if `anew`."""
    token = _renewed.set(set() if anew else None)
    try:
        yield
    finally:
        _renewed.reset(token)


def weights_place(name: str) -> Path:
    """The file of the weights called `name`, such as the digest of a configuration; it may not be there yet.

    Asked for the first time inside `training_anew(True)`, it is removed.
    """
    place, renewed = lab_home() / "models" / f"format-{FORMAT}" / f"{name}.safetensors", _renewed.get()
    if renewed is not None and name not in renewed:
        renewed.add(name)
        place.unlink(missing_ok=True)
    return place
