"""A progress line for sweeps: rewritten in place for a person, whole lines for a log, one line in a stored notebook."""

import io
import sys
from collections.abc import Callable
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress

WIDTH = 120  # of the line; what is longer is cut


def progress_line(title: str, *, live: bool = True) -> Callable[[int, int, str], None]:
    """A callback `(done, total, label)` that prints a bar, the time spent and an estimate of what is left.

    `live` rewrites one line. Otherwise each call prints a line, and in a notebook's kernel the last one only.
    """
    # rich draws the line and does not print it: in a notebook it would use a widget, which cannot be stored
    console = Console(file=io.StringIO(), width=WIDTH, force_jupyter=False, force_terminal=False, color_system=None)
    columns = ["{task.description}", BarColumn(24), MofNCompleteColumn(), "{task.fields[words]}"]
    bar = Progress(*columns, console=console)
    bar.add_task(title, words="")
    (task,) = bar.tasks

    def show(done: int, total: int, label: str) -> None:
        spent, last = task.elapsed or 0.0, done == total
        left = f", about {_clock(spent / done * (total - done))} left" if 0 < done < total else ""
        bar.update(task.id, completed=done, total=total, words=f"{_clock(spent)}{left} · {label}")
        with console.capture() as drawn:
            console.print(bar)
        line = drawn.get().rstrip()
        if live:
            sys.stdout.write(f"\r{line:<{WIDTH}}" + "\n" * last)
        elif last or not type(sys.stdout).__module__.startswith("ipykernel"):
            sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    return show


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
