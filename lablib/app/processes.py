"""Starting a child with everything below it, and stopping it whole.

A Jupyter kernel starts in a session of its own, and a killed kernel leaves its pool of workers behind, so neither
a process group nor the tree of parents finds them all. Two things do, on Linux and macOS alike: a mark in the
environment that all of them inherit, and a pipe that ends when the process above is gone, however it went. A process
with a cleared environment is found below its parent; on Linux that is the child of `lab` where its own has ended. On
macOS it is then found no more.
"""

import contextlib
import ctypes
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil

from lablib.app.errors import BadInput
from lablib.app.streams import steady_streams
from lablib.core.checkout import PROJECT

MARK = "LAB_PROCESS_MARK"
# what a person sets for a terminal, a Python or charts of their own, and would change what a notebook does or shows
_PERSONAL = {"COLUMNS", "LINES", "JUPYTER_COLUMNS", "JUPYTER_LINES", "FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE"}
_PERSONAL |= {"MPLBACKEND", "IPYKERNEL_CELL_NAME", "PYTHON_COLORS", "PYTHONBREAKPOINT", "PYTHONCOERCECLOCALE"}
_PERSONAL |= {"PYTHONDEBUG", "PYTHONDEVMODE", "PYTHONINSPECT", "PYTHONIOENCODING", "PYTHONOPTIMIZE", "PYTHONSAFEPATH"}
_PERSONAL |= {"PYTHONPROFILEIMPORTTIME", "PYTHONSTARTUP", "PYTHONUTF8", "PYTHONVERBOSE", "PYTHONWARNINGS"}
# figures as the report reads them, whatever program `lab` was started from; sets in the same order every time
_SETTINGS = {"PLOTLY_RENDERER": "plotly_mimetype", "PYTHONHASHSEED": "0"}


def kill_marked(mark: str, *, patience: float = 5.0) -> float:
    """SIGKILL all processes that inherited the mark, and all below them, but this one; the CPU seconds they had used.

    The uppermost go last: as long as `serve` lives, what is orphaned below it stays below it (Linux).
    """
    spent: dict[int, float] = {}
    deadline = time.monotonic() + patience
    # past the deadline they are in the kernel's hands (a hung disk): nothing more can be done from here
    while (found := _family(mark)) and time.monotonic() < deadline:
        for process in [one for one, above in found if above] or [one for one, _ in found]:
            with contextlib.suppress(psutil.Error, OSError):
                spent.setdefault(process.pid, sum(process.cpu_times()[:4]))
                process.kill()
        time.sleep(0.02)
    return sum(spent.values())


def _family(mark: str) -> list[tuple[psutil.Process, bool]]:
    """The living processes that inherited the mark or are below one, but this one; whether the one above is one too."""
    parents, family, processes = {}, set(), {process.pid: process for process in psutil.process_iter()}
    for pid, process in processes.items():
        with contextlib.suppress(psutil.Error, OSError):
            parents[pid] = process.ppid()
            if process.environ().get(MARK) == mark:
                family.add(pid)
    while below := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= below
    return [
        (processes[pid], parents[pid] in family)
        for pid in family - {os.getpid()}
        if started_at(pid)  # one that has ended is listed until its parent has taken note
    ]


def started_at(pid: int) -> str | None:
    """What tells this process from a later one with the same number; None where there is none.

    Linux counts in ticks since the machine started, which a changed clock does not touch.
    """
    if sys.platform != "linux":
        with contextlib.suppress(psutil.Error):
            return f"{psutil.Process(pid).create_time():.0f}"
        return None
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else f"tick {fields[18]}"


@dataclasses.dataclass
class Child:
    """A Python module run in a process of its own, whose JSON messages come over a pipe."""

    mark: str
    process: subprocess.Popen
    messages: int  # the pipe's end to read from
    folder: Path  # scratch: its standard output and error, Jupyter's own files
    started: float = dataclasses.field(default_factory=time.monotonic)
    cpu_seconds: float = 0.0
    silent: bool = False  # it has closed its end of the pipe
    _rest: bytes = b""

    def read(self) -> list[dict[str, Any]]:
        """The whole messages that have arrived; an empty list where there is nothing new."""
        with contextlib.suppress(BlockingIOError):
            while piece := os.read(self.messages, 1 << 16):
                self._rest += piece
            self.silent = True
        *lines, self._rest = self._rest.split(b"\n")
        return [json.loads(line) for line in lines]

    def ended(self) -> bool:
        """Whether the process is gone; its CPU seconds, those of its dead children included, are then known."""
        if self.process.returncode is None:
            pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.cpu_seconds += usage.ru_utime + usage.ru_stime
        return self.process.returncode is not None

    def stop(self) -> None:
        """Kill it and everything below it."""
        self.cpu_seconds += kill_marked(self.mark)
        if self.process.returncode is None:
            self.process.wait()

    def close(self) -> str:
        """Kill it and what it left behind, give back pipe and scratch; the end of what it wrote to the terminal."""
        self.stop()
        os.close(self.messages)
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        text = ""
        with contextlib.suppress(OSError):
            text = (self.folder / "terminal.txt").read_bytes()[-4000:].decode(errors="replace")
        shutil.rmtree(self.folder, ignore_errors=True)
        return text


def start(
    module: str, job: dict[str, Any], *, mark: str, environ: Mapping[str, str], code: Path = PROJECT, quiet: bool = True
) -> Child:
    """Run `python -m module` in a session of its own, with the lablib that lies in `code`.

    `job` is its first line of input, the rest its lifeline. `quiet` keeps what it prints for `close` to return.
    """
    folder = Path(tempfile.mkdtemp(prefix="lab-"))
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    path = os.pathsep.join(filter(None, [str(code), environ.get("PYTHONPATH")]))
    own = {MARK: mark, "PYTHONPATH": path, "JUPYTER_RUNTIME_DIR": str(folder / "jupyter")}
    own |= {"IPYTHONDIR": str(folder / "ipython"), "LAB_MESSAGES": str(writing)} | _SETTINGS
    kept = {name: value for name, value in environ.items() if name not in _PERSONAL}
    with (folder / "terminal.txt").open("wb") as terminal:
        output = terminal if quiet else None
        streams = {"stdin": subprocess.PIPE, "stdout": output, "stderr": output, "pass_fds": [writing]}
        place = {"cwd": code, "env": kept | own, "start_new_session": True}
        process = subprocess.Popen([sys.executable, "-m", module], **streams, **place)
    os.close(writing)
    with contextlib.suppress(BrokenPipeError):  # it died at once: `ended` will say so
        process.stdin.write(json.dumps(job).encode() + b"\n")
        process.stdin.flush()
    return Child(mark, process, reading, folder)


def serve(work: Callable[[dict[str, Any], Callable[[dict[str, Any]], None]], int]) -> None:
    """In the child: do the job by `work(job, tell)`, and end with the exit code that it returns.

    `tell` sends a message up. What is refused as BadInput is told as `refused`, with exit code 2. From the start of
    the job on the child dies with its parent, and all below it dies with the child.
    """
    steady_streams()
    job = json.loads(sys.stdin.buffer.readline())
    descriptor = int(os.environ.pop("LAB_MESSAGES"))
    os.set_inheritable(descriptor, False)
    if sys.platform == "linux":  # a killed kernel's workers become children of this process: their CPU time is not lost
        pr_set_child_subreaper = 36
        ctypes.CDLL(None, use_errno=True).prctl(pr_set_child_subreaper, 1, 0, 0, 0)
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_IGN:
        signal.signal(signal.SIGTERM, lambda *_: _end_whole())
    threading.Thread(target=_watch_parent, daemon=True).start()

    def tell(message: dict[str, Any]) -> None:
        os.write(descriptor, json.dumps(message).encode() + b"\n")

    try:
        code = work(job, tell)
    except BadInput as error:
        tell({"refused": str(error)})
        code = 2
    sys.stdout.flush()
    kill_marked(os.environ[MARK])
    with contextlib.suppress(ChildProcessError):  # taken note of, they count in this process's CPU time
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    os._exit(code)  # no waiting for threads: all is written


def _watch_parent() -> None:
    # not through sys.stdin, whose lock would be held at exit
    while os.read(0, 1024):
        pass
    _end_whole()


def _end_whole() -> None:
    kill_marked(os.environ[MARK])
    folder = os.environ["IPYTHONDIR"]
    shutil.rmtree(os.path.dirname(folder), ignore_errors=True)
    os._exit(128 + signal.SIGTERM)
