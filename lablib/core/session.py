"""How a notebook is being run: at what scale, with or without a person."""

import os
from dataclasses import dataclass
from pathlib import Path

from lablib.core.checkout import misplaced
from lablib.core.config import resolve_scale


@dataclass(frozen=True)
class Session:
    """`scale` is smoke, lab or full; `interactive` says whether widgets can be drawn and used."""

    scale: str
    interactive: bool

    @property
    def in_process(self) -> bool:
        """Smoke arms are too small to be worth a pool of processes."""
        return self.scale == "smoke"


def session(scale: str | None = None, interactive: bool | None = None) -> Session:
    """Settle what the parameters cell leaves open: LAB_SCALE or lab, LAB_INTERACTIVE or on.

    Raises ValueError for an unknown scale, for a LAB_INTERACTIVE that is neither 0 nor 1, and for a notebook that
    belongs to another copy of the lab than the code: its Jupyter was started from that one's environment.
    """
    if words := misplaced(Path.cwd()):
        raise ValueError(words)
    if interactive is None:
        text = os.environ.get("LAB_INTERACTIVE") or "1"
        if text not in ("0", "1"):
            raise ValueError(f"the environment variable LAB_INTERACTIVE is {text!r}; expected 0 or 1")
        interactive = text == "1"
    return Session(resolve_scale(scale), interactive)
