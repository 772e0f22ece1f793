"""`lab run`: notebooks through papermill, each in a process of its own, stopped whole and judged by how it ended."""

import contextlib
import json
import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lablib.app import checks, processes
from lablib.app.display import Display
from lablib.app.errors import BadInput
from lablib.app.processes import Child
from lablib.app.runrecord import NotebookRun, RunRecord, find, new_folder, now
from lablib.core.provenance import package_version, provenance
from lablib.core.scrub import scrubber, strip_ansi
from lablib.core.store import PROJECT, lab_home

TICK = 0.2  # seconds between two looks at deadlines, signals and children
TOOLS = ("papermill", "nbclient", "ipykernel", "plotly")


def new_run(
    names: Sequence[str],
    *,
    scale: str | None,
    parameters: Sequence[str],
    workers: int | None,
    timeout: float | None,
    out: Path,
) -> tuple[RunRecord, list[str]]:
    """A run that has passed every check, and notes for the person; BadInput before anything is written."""
    given = checks.assignments(parameters)
    scale = checks.chosen_scale(scale, given)
    budget, deadline = checks.checked_workers(workers), checks.checked_timeout(timeout, scale)
    out = checks.checked_out(out)
    checks.check_home()
    checked = checks.check_notebooks(checks.find_notebooks(names), scale, given)
    facts = provenance() | {name: package_version(name) for name in TOOLS}
    del facts["finished"]  # the run has times of its own
    folder = new_folder(out)
    record = RunRecord(
        folder=folder,
        scale=scale,
        parameters=given,
        workers=budget,
        timeout=deadline,
        provenance=facts,
        notebooks=[_run_of(one, folder) for one in checked],
        started=now(),
    )
    return record, checks.missing_notes(checked, given)


def old_run(identity: str, *, workers: int | None, timeout: float | None, out: Path) -> RunRecord:
    """A kept run whose missing and failed notebooks wait again, with the parameters and the scale it had."""
    record = find(checks.checked_out(out), identity)
    lacking = checks.to_resume(record)
    record.workers = checks.checked_workers(record.workers if workers is None else workers)
    record.timeout = checks.checked_timeout(record.timeout if timeout is None else timeout, record.scale)
    checks.check_home()
    paths = [record.notebook_path(run) for run in lacking]
    checked = checks.check_notebooks(paths, record.scale, record.parameters, all_known=False)
    fresh = {one.path.stem: _run_of(one, record.folder) for one in checked}
    record.notebooks = [fresh.get(run.name, run) for run in record.notebooks]
    facts = provenance()
    record.resumed.append({"at": now(), "commit": facts["commit"], "dirty": facts["dirty"]})
    return record


def _run_of(one: checks.Checked, folder: Path) -> NotebookRun:
    inside = one.path.is_relative_to(PROJECT)
    path = one.path.relative_to(PROJECT) if inside else os.path.relpath(one.path, folder.resolve())
    values = json.loads(json.dumps(one.values, default=str))
    return NotebookRun(name=one.path.stem, path=str(path), question=one.question, given=one.given, parameters=values)


def execute(record: RunRecord) -> int:
    """Run what waits; keep the record; the exit code: 0 all ok, 1 not, 128 + n stopped by signal n."""
    with caught_signals() as caught, record.alone():
        for run in record.notebooks if record.resumed else ():
            processes.kill_marked(_mark(record, run))  # `lab` may have died without its children
        record.claim()
        record.keep_reserve()
        _begin(record)
        try:
            with Display(record.notebooks) as display:
                _Conductor(record, display, caught).conduct()
        except OSError as error:  # the run's own folder cannot be written
            record.error = f"the run's folder cannot be written: {error.strerror}"
        record.finished = now()
        record.status = "cancelled" if caught else "failed"
        if not caught and not record.error and all(run.status == "ok" for run in record.notebooks):
            record.status = "ok"
        record.save()
        record.free_reserve()
        return 128 + caught[0] if caught else int(record.status != "ok")


def _begin(record: RunRecord) -> None:
    """Put on record that it runs; BadInput where even that cannot be written, before anything runs."""
    try:
        record.save()
    except OSError as error:
        record.free_reserve()
        with contextlib.suppress(OSError):  # the folder of a resumed run is not empty, and stays
            record.folder.rmdir()
        raise BadInput(f"nothing was run: {error.strerror}") from None


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """A list that the first of Ctrl-C, SIGTERM and SIGHUP is put into, instead of ending this process."""
    caught: list[int] = []
    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in wanted}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _mark(record: RunRecord, run: NotebookRun) -> str:
    return f"{record.folder.resolve()}/{run.name}"


class _Conductor:
    """Starts the waiting notebooks as places are free, watches the running ones, and settles how each ended."""

    def __init__(self, record: RunRecord, display: Display, caught: list[int]):
        self.record, self.display, self.caught = record, display, caught
        self.places = record.workers if record.scale == "smoke" else 1
        self.running: list[tuple[NotebookRun, Child]] = []
        self.verdicts: dict[str, dict[str, Any]] = {}

    def conduct(self) -> None:
        waiting = deque(run for run in self.record.notebooks if run.status == "waiting")
        try:
            while (waiting or self.running) and not self.caught:
                while waiting and len(self.running) < self.places:
                    self._start(waiting.popleft())
                self._wait()
                for run, child in list(self.running):
                    self._look(run, child)
                self.display.show()
        finally:
            for run, child in list(self.running):
                child.stop()
                self._settle(run, child, "cancelled", "stopped before its end")
            for run in waiting:
                run.status = "cancelled"
            self.display.show()

    def _start(self, run: NotebookRun) -> None:
        record = self.record
        paths = {"notebook": record.notebook_path(run), "output": record.executed(run)}
        job = {name: str(path.resolve()) for name, path in paths.items()} | {"parameters": run.given}
        environ = os.environ | {
            "LAB_SCALE": record.scale,
            "LAB_WORKERS": str(1 if self.places > 1 else record.workers),
            "LAB_INTERACTIVE": "0",
            "OMP_NUM_THREADS": "1",
            "LAB_HOME": str(lab_home().absolute()),  # the kernel runs in another folder
        }
        run.status, run.started, run.error = "running", now(), None
        try:
            child = processes.start("lablib.app.one_notebook", job, mark=_mark(record, run), environ=environ)
            self.running.append((run, child))
        except OSError as error:
            run.status, run.error = "failed", f"could not be started: {error.strerror}"
        record.save()

    def _wait(self) -> None:
        with selectors.DefaultSelector() as selector:
            for _, child in self.running:
                if not child.silent:
                    selector.register(child.messages, selectors.EVENT_READ)
            selector.select(TICK)

    def _look(self, run: NotebookRun, child: Child) -> None:
        over = child.ended()  # before reading, so that the last message is never missed
        for message in child.read():
            run.cell, run.cells = message.get("cell", run.cell), message.get("cells", run.cells)
            if "status" in message:
                self.verdicts[run.name] = message
        if over:
            self._settle(run, child, *_verdict(self.verdicts.get(run.name), child.process.returncode))
            self.record.save()
        elif time.monotonic() - child.started > self.record.timeout:
            child.stop()
            self._settle(run, child, "timeout", f"not done after {self.record.timeout:g} s, {_place(run)}")
            self.record.save()

    def _settle(self, run: NotebookRun, child: Child, status: str, error: str | None) -> None:
        self.running.remove((run, child))
        terminal = child.close()
        if error is None and status != "ok":
            last = [line for line in strip_ansi(terminal).splitlines() if line.strip()][-1:]
            error = scrubber()(last[0].strip() if last else "its process ended without a word")
        run.status, run.error, run.finished = status, error, now()
        run.wall_seconds = round(time.monotonic() - child.started, 1)
        run.cpu_seconds = round(child.cpu_seconds, 1)


def _place(run: NotebookRun) -> str:
    return f"stopped in code cell {run.cell} of {run.cells}" if run.cell else "stopped before its first cell"


def _verdict(message: dict[str, Any] | None, code: int) -> tuple[str, str | None]:
    """How a notebook ended: by its process first, by what it said second."""
    if code < 0:
        return "killed", f"its process was killed by signal {-code} (out of memory?)"
    if message is None:
        return "failed", None
    if code == 0 and message["status"] == "ok":
        return "ok", None
    return ("failed" if message["status"] == "ok" else message["status"]), message["error"]
