"""A live progress line a notebook: rewritten in place on a terminal, whole plain lines otherwise."""

import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, Task, TextColumn
from rich.table import Column

from lablib.app.run_state import NotebookRun

STYLES = {"ok": "green", "failed": "red", "killed": "red", "timeout": "red", "cancelled": "yellow", "running": "cyan"}
_EVERY = 10.0  # seconds between two plain lines about the same notebook


def minutes(seconds: float | None) -> str:
    """`0:41`; a dash where nothing was measured."""
    return "-" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def line(run: NotebookRun, seconds: float | None, width: int) -> str:
    """What is known of a notebook now, in one line."""
    words = run.status
    if run.status == "running":
        words = f"cell {run.cell}/{run.cells}" if run.cells else "starting"
    parts = [words] if run.status == "waiting" else [words, minutes(seconds)]
    text = f"{run.name:<{width}}  {', '.join(parts)}"
    return f"{text}  {run.error}" if run.error else text


class Display:
    """Shows the notebooks of a run; use as a context manager and call `show` often."""

    def __init__(self, runs: Sequence[NotebookRun], console: Console | None = None):
        # told here, for rich takes any output for a terminal where FORCE_COLOR is set
        self.console = console or Console(highlight=False, force_terminal=sys.stdout.isatty())
        plain = not self.console.is_terminal or self.console.is_dumb_terminal
        words = TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis"))
        how = {"console": self.console, "auto_refresh": False, "disable": plain}
        self.live = Progress(BarColumn(12), words, **how)
        for _ in runs:
            self.live.add_task("", start=False, total=1)
        self.tasks = list(zip(runs, self.live.tasks, strict=True))
        self.width = max(len(run.name) for run in runs)
        self.said: dict[str, tuple[str, float]] = {}

    def __enter__(self):
        self.live.start()
        return self

    def __exit__(self, *_):
        self.show()
        self.live.stop()

    def show(self) -> None:
        """Draw the state of all notebooks, or print what is new."""
        for run, task in self.tasks:
            if run.status == "running" and task.start_time is None:
                self.live.start_task(task.id)
            text = line(run, task.elapsed if run.status == "running" else run.wall_seconds, self.width)
            if self.live.disable:
                self._print_news(run, text)
            else:
                self._draw(run, task, text)
        self.live.refresh()

    def _draw(self, run: NotebookRun, task: Task, text: str) -> None:
        done = run.cell - 1 if run.status == "running" else run.cell  # the cell it has reached is not done
        words = f"[{STYLES.get(run.status, 'dim')}]{escape(text)}"
        self.live.update(task.id, description=words, completed=max(done, 0), total=max(run.cells, 1))

    def _print_news(self, run: NotebookRun, text: str) -> None:
        state, (said, when) = f"{run.status} {run.cell}", self.said.get(run.name, ("waiting 0", 0.0))
        soon = run.status == "running" and said.startswith("running") and time.monotonic() - when < _EVERY
        if state == said or run.status == "waiting" or soon:
            return
        self.said[run.name] = state, time.monotonic()
        self.console.print(text, markup=False, soft_wrap=True)
