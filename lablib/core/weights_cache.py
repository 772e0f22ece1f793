"""Cache of trained weights: arms and experiments share them, and an interrupted training resumes from them."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from lablib.core.store import lab_home

# Raise it when what a checkpoint holds changes: older ones then count as not there, instead of as broken.
FORMAT = 2

# inside `training_anew(True)`, the files whose old weights are gone already
_renewed: ContextVar[set[Path] | None] = ContextVar("renewed", default=None)


@contextmanager
def training_anew(anew: bool) -> Iterator[None]:
    """Inside the block weights from before it do not count, if `anew`."""
    token = _renewed.set(set() if anew else None)
    try:
        yield
    finally:
        _renewed.reset(token)


def weights_place(training: str, version: int, digest: str) -> Path:
    """The file of the weights that a training makes from the configuration `digest`; it may not be there yet.

    `training` names the function that trains. `version` is that function's own number, raised by hand when the
    weights it makes change: two experiments that share a training share its weights, whatever their versions.
    Asked for the first time inside `training_anew(True)`, the file is removed. Raises ValueError for a version below 1.
    """
    if version < 1:
        raise ValueError(f"version {version} of the training {training!r}; expected at least 1")
    folder = lab_home() / "models" / f"format-{FORMAT}" / f"{training}-{version}"
    place, renewed = folder / f"{digest}.safetensors", _renewed.get()
    if renewed is not None and place not in renewed:
        renewed.add(place)
        place.unlink(missing_ok=True)
    return place
