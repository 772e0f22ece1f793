"""A progress line for sweeps: rewritten in place for a person, whole lines for a log."""

import sys
import time
from collections.abc import Callable


def progress_line(title: str, *, live: bool = True, width: int = 24) -> Callable[[int, int, str], None]:
    """A callback `(done, total, label)` that prints a bar, the time spent and an estimate of what is left."""
    start = time.monotonic()

    def show(done: int, total: int, label: str) -> None:
        spent = time.monotonic() - start
        filled = width if total == 0 else width * done // total
        left = f", about {_minutes(spent / done * (total - done))} left" if 0 < done < total else ""
        line = f"{title} [{'#' * filled}{'.' * (width - filled)}] {done}/{total}, {_minutes(spent)}{left} · {label}"
        last = done == total
        sys.stdout.write(f"\r{line:<110}" + ("\n" if last else "") if live else line + "\n")
        sys.stdout.flush()

    return show


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
