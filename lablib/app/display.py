"""A live progress line a notebook: rewritten in place on a terminal, whole plain lines otherwise."""

import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from lablib.app.runrecord import NotebookRun

STYLES = {"ok": "green", "failed": "red", "killed": "red", "timeout": "red", "cancelled": "yellow", "running": "cyan"}
WORDS = {
    "ok": "ok",
    "failed": "failed: a cell raised an error",
    "killed": "killed: its kernel died",
    "timeout": "stopped: past the deadline",
    "cancelled": "cancelled: not run to its end",
    "running": "running",
    "interrupted": "interrupted: lab itself died",
    "waiting": "waiting",
}
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
        self.runs, self.console = runs, console or Console(highlight=False)
        self.width = max(len(run.name) for run in runs)
        self.began: dict[str, float] = {}
        self.said: dict[str, tuple[str, float]] = {}
        self.live = Live(console=self.console, auto_refresh=False) if self.console.is_terminal else None

    def __enter__(self):
        if self.live:
            self.live.start()
        return self

    def __exit__(self, *_):
        if self.live:
            self.show()
            self.live.stop()

    def show(self) -> None:
        """Draw the state of all notebooks, or print what is new."""
        for run in self.runs:
            if run.status == "running":
                self.began.setdefault(run.name, time.monotonic())
            else:
                self.began.pop(run.name, None)
        if self.live:
            text = Text(no_wrap=True, overflow="ellipsis")
            for run in self.runs:
                text.append(f"{self._line(run)}\n", style=STYLES.get(run.status, "dim"))
            text.right_crop(1)
            self.live.update(text, refresh=True)
            return
        for run in self.runs:
            self._print_news(run)

    def _line(self, run: NotebookRun) -> str:
        began = self.began.get(run.name)
        return line(run, time.monotonic() - began if began else run.wall_seconds, self.width)

    def _print_news(self, run: NotebookRun) -> None:
        state, (said, when) = f"{run.status} {run.cell}", self.said.get(run.name, ("waiting 0", 0.0))
        soon = run.status == "running" and said.startswith("running") and time.monotonic() - when < _EVERY
        if state == said or run.status == "waiting" or soon:
            return
        self.said[run.name] = state, time.monotonic()
        self.console.print(self._line(run), markup=False, soft_wrap=True)
