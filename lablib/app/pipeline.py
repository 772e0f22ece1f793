"""`lab run`: notebooks through papermill, each in a process of its own, stopped whole and judged by how it ended."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from lablib.app import checks, processes
from lablib.app.display import Display
from lablib.app.errors import BadInput
from lablib.app.processes import Child
from lablib.app.run_state import NotebookRun, RunState, find, new_folder
from lablib.core.checkout import PROJECT
from lablib.core.files import lab_home
from lablib.core.provenance import now, package_version, provenance
from lablib.core.redact import redactor, strip_ansi

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
) -> tuple[RunState, list[str]]:
    """A run that has passed every check, and notes for the person; BadInput before anything is written."""
    given = checks.assignments(parameters)
    scale = checks.chosen_scale(scale, given)
    budget, deadline = checks.checked_workers(workers), checks.checked_timeout(timeout, scale)
    for asked, place in (("--out", out), ("LAB_HOME", lab_home())):
        checks.check_folder(asked, place)
    checked = checks.check_notebooks(checks.find_notebooks(names), scale, given)
    facts = provenance() | {name: package_version(name) for name in TOOLS}
    del facts["finished"]  # the run has times of its own
    folder = new_folder(out)
    asked = {"scale": scale, "parameters": given, "workers": budget, "timeout": deadline, "provenance": facts}
    notebooks = [_placed(run, folder) for run in checked]
    return RunState(folder=folder, notebooks=notebooks, started=now(), **asked), checks.missing_notes(checked, given)


def old_run(identity: str, *, workers: int | None, timeout: float | None, out: Path) -> RunState:
    """A kept run whose missing and failed notebooks wait again, with the parameters and the scale it had."""
    state = find(checks.check_folder("--out", out), identity)
    lacking = checks.to_resume(state)
    state.workers = checks.checked_workers(state.workers if workers is None else workers)
    state.timeout = checks.checked_timeout(state.timeout if timeout is None else timeout, state.scale)
    checks.check_folder("LAB_HOME", lab_home())
    paths = [state.notebook_path(run) for run in lacking]
    checked = checks.check_notebooks(paths, state.scale, state.parameters, all_known=False)
    fresh = {run.name: _placed(run, state.folder) for run in checked}
    state.notebooks = [fresh.get(run.name, run) for run in state.notebooks]
    facts = provenance()
    state.resumed.append({"at": now(), "commit": facts["commit"], "dirty": facts["dirty"]})
    return state


def _placed(run: NotebookRun, folder: Path) -> NotebookRun:
    """The notebook of a run with its path relative to the project, or to the run's folder where it lies outside."""
    start = PROJECT if Path(run.path).is_relative_to(PROJECT) else folder.resolve()
    run.path = os.path.relpath(run.path, start)
    return run


def execute(state: RunState) -> int:
    """Run what waits; keep its state; the exit code: 0 all ok, 1 not, 128 + n stopped by signal n.

    Raises BadInput where not even that it runs can be kept, before anything runs.
    """
    with caught_signals() as caught, state.alone():
        for run in state.notebooks if state.resumed else ():
            processes.kill_marked(_mark(state, run))  # `lab` may have died without its children
        state.claim()
        state.keep_reserve()
        try:
            state.save()
        except OSError as error:
            state.free_reserve()
            with contextlib.suppress(OSError):  # the folder of a resumed run is not empty, and stays
                state.folder.rmdir()
            raise BadInput(f"nothing was run: {error.strerror}") from None
        try:
            with Display(state.notebooks) as display:
                _conduct(state, display, caught)
        except OSError as error:  # the run's own folder cannot be written
            state.error = f"the run's folder cannot be written: {error.strerror}"
        state.finished = now()
        good = not state.error and all(run.status == "ok" for run in state.notebooks)
        state.status = "cancelled" if caught else "ok" if good else "failed"
        state.save()
        state.free_reserve()
        return 128 + caught[0] if caught else int(state.status != "ok")


@contextlib.contextmanager
def caught_signals() -> Iterator[list[int]]:
    """A list that the first of Ctrl-C, SIGTERM and SIGHUP is put into, instead of ending this process.

    A signal that this process was started to ignore (`nohup`, a job in the background) stays ignored.
    """
    caught: list[int] = []
    every = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    wanted = [number for number in every if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, lambda number, _: caught.append(number)) for number in wanted}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _mark(state: RunState, run: NotebookRun) -> str:
    return f"{state.folder.resolve()}/{run.name}"


def _conduct(state: RunState, display: Display, caught: list[int]) -> None:
    """Run the waiting notebooks, as many at once as there are places, and show and save how they stand."""
    stop, saved = threading.Event(), []
    places = state.workers if state.scale == "smoke" else 1
    waiting = [run for run in state.notebooks if run.status == "waiting"]
    with ThreadPoolExecutor(places) as pool:
        pending = futures = {pool.submit(_run, state, run, places, stop) for run in waiting}
        try:
            while pending and not caught:
                _, pending = wait(pending, TICK, FIRST_COMPLETED)
                if saved != [run.status for run in state.notebooks]:
                    saved = [run.status for run in state.notebooks]
                    state.save()
                display.show()
        finally:
            stop.set()
    for future in futures:
        future.result()
    display.show()


def _run(state: RunState, run: NotebookRun, places: int, stop: threading.Event) -> None:
    """Run one notebook until it ends, is late, or all is to stop; put down how it ended, its status last."""
    if stop.is_set():
        run.status = "cancelled"
        return
    run.status, run.started, run.error = "running", now(), None
    try:
        child = _start(state, run, places)
    except OSError as error:
        run.error, run.status = f"could not be started: {error.strerror}", "failed"
        return
    status, error = _watch(state, run, child, stop)
    said = [line.strip() for line in strip_ansi(child.close()).splitlines() if line.strip()]
    if error is None and status != "ok":
        error = redactor()(said[-1] if said else "its process ended without a word")
    run.error, run.finished = error, now()
    run.wall_seconds, run.cpu_seconds = round(time.monotonic() - child.started, 1), round(child.cpu_seconds, 1)
    run.status = status


def _start(state: RunState, run: NotebookRun, places: int) -> Child:
    paths = {"notebook": state.notebook_path(run), "output": state.executed(run)}
    job = {name: str(path.resolve()) for name, path in paths.items()} | {"parameters": run.given}
    home = str(lab_home().absolute())  # the kernel runs in another folder
    environ = os.environ | {"LAB_SCALE": state.scale, "LAB_WORKERS": str(1 if places > 1 else state.workers)}
    environ |= {"LAB_HOME": home, "LAB_INTERACTIVE": "0", "OMP_NUM_THREADS": "1"}
    return processes.start("lablib.app.worker", job, mark=_mark(state, run), environ=environ)


def _watch(state: RunState, run: NotebookRun, child: Child, stop: threading.Event) -> tuple[str, str | None]:
    """Follow the child cell by cell; how the notebook ended, and why where that is known."""
    verdict = None
    while True:
        over = child.ended()  # before reading, so that the last message is never missed
        for message in child.read():
            run.cell, run.cells = message.get("cell", run.cell), message.get("cells", run.cells)
            verdict = message if "status" in message else verdict
        if over:
            return _verdict(verdict, child.process.returncode)
        if stop.is_set():
            return "cancelled", "stopped before its end"
        if time.monotonic() - child.started > state.timeout:
            place = f"stopped in code cell {run.cell} of {run.cells}" if run.cell else "stopped before its first cell"
            return "timeout", f"not done after {state.timeout:g} s, {place}"
        select.select([] if child.silent else [child.messages], [], [], TICK)


def _verdict(message: dict[str, Any] | None, code: int) -> tuple[str, str | None]:
    """How a notebook ended: by its process first, by what it said second."""
    if code < 0:
        return "killed", f"its process was killed by signal {-code} (out of memory?)"
    if message is None:
        return "failed", None
    if code == 0 and message["status"] == "ok":
        return "ok", None
    return ("failed" if message["status"] == "ok" else message["status"]), message["error"]
