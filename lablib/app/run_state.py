"""What is kept of a run: `runs/<id>/run.json`, whole at any moment, with the truth about each notebook."""

import contextlib
import dataclasses
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lablib.app.errors import BadInput
from lablib.app.processes import started_at
from lablib.core.checkout import PROJECT
from lablib.core.files import write_atomically
from lablib.core.redact import blanker, redact

SCHEMA = 1
_STAMP = "%Y%m%dT%H%M%SZ"
RESERVE = 256 * 1024  # bytes kept free in the run's folder, so that a full disk can still be told


@dataclasses.dataclass(kw_only=True)
class NotebookRun:
    """One notebook of a run; `status` is waiting, running, ok, failed, killed, timeout or cancelled."""

    name: str
    path: str  # relative to the project, or to the run's folder where it begins with ..
    question: str
    given: dict[str, Any]  # the parameters that papermill puts in
    parameters: dict[str, Any]  # all of them, defaults and seeds included
    status: str = "waiting"
    error: str | None = None
    cell: int = 0  # the code cell that was reached
    cells: int = 0
    started: str | None = None
    finished: str | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None


@dataclasses.dataclass(kw_only=True)
class RunState:
    """One `lab run`; `status` is running, ok, failed or cancelled, and `interrupted` where `lab` itself died."""

    folder: Path
    scale: str
    parameters: dict[str, Any]  # as given on the command line, as text
    workers: int
    timeout: float
    provenance: dict[str, Any]
    notebooks: list[NotebookRun]
    status: str = "running"
    error: str | None = None
    started: str = ""
    finished: str | None = None
    resumed: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    pid: int = 0
    pid_started: str | None = None

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def seen_status(self) -> str:
        """The status as a reader must see it: a run whose process is gone is not running."""
        alive = self.status == "running" and self.pid_started == started_at(self.pid) and self.pid_started
        return "interrupted" if self.status == "running" and not alive else self.status

    def seen_status_of(self, run: NotebookRun) -> str:
        dead = self.seen_status == "interrupted" and run.status in ("waiting", "running")
        return ("interrupted" if run.status == "running" else "cancelled") if dead else run.status

    def notebook_path(self, run: NotebookRun) -> Path:
        """Where the notebook to run lies."""
        return (self.folder if run.path.startswith("..") else PROJECT) / run.path

    def executed(self, run: NotebookRun) -> Path:
        """Where the executed notebook lies, once it has begun."""
        return self.folder / f"{run.name}.ipynb"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep others from running it, until this process ends in whatever way; BadInput where another runs it."""
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            with contextlib.suppress(OSError):  # a file system without locks
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise BadInput(f"run {self.id} is still running in another process; wait for it") from None
            yield
        finally:
            os.close(handle)

    def claim(self) -> None:
        """From now on this process is the one that runs it."""
        self.pid, self.pid_started, self.status = os.getpid(), started_at(os.getpid()), "running"
        self.error = self.finished = None

    def save(self) -> None:
        """Write run.json; on a full disk the reserve is given up for it."""
        fields = {"schema": SCHEMA, "id": self.id, "status": self.status} | dataclasses.asdict(self)
        del fields["folder"]
        text = json.dumps(redact(fields, blanker()), indent=1, default=str) + "\n"
        try:
            write_atomically(self.folder / "run.json", text)
        except OSError:
            self.free_reserve()
            write_atomically(self.folder / "run.json", text)

    def keep_reserve(self) -> None:
        """Take room on the disk that `save` can fall back on."""
        with contextlib.suppress(OSError):
            (self.folder / ".reserve").write_bytes(b"\0" * RESERVE)

    def free_reserve(self) -> None:
        """Give that room back."""
        with contextlib.suppress(OSError):
            (self.folder / ".reserve").unlink(missing_ok=True)

    @classmethod
    def read(cls, folder: Path) -> "RunState":
        """The state in a run's folder; BadInput where it is missing or damaged."""
        try:
            fields = json.loads((folder / "run.json").read_text())
            if fields.pop("schema") != SCHEMA:
                raise BadInput(f"run {folder.name} was kept by another version of the lab; run the notebooks again")
            fields.pop("id")
            notebooks = [NotebookRun(**entry) for entry in fields.pop("notebooks")]
            return cls(folder=folder, notebooks=notebooks, **fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise BadInput(f"run {folder.name} has no readable run.json; run the notebooks again") from None


def new_folder(out: Path) -> Path:
    """A new, empty folder for a run, named by the time and four random digits."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        while True:
            with contextlib.suppress(FileExistsError):
                folder = out / f"{_next_stamp(out)}-{secrets.token_hex(2)}"
                folder.mkdir()
                return folder
    except OSError as error:
        raise BadInput(f"--out {out}: {error.strerror}; name a folder that can be written") from None


def _next_stamp(out: Path) -> str:
    """The time now, or a second after the newest run where that is later.

    So the names keep the order in which the runs were started, also when the clock was set back between two of them.
    """
    times = [datetime.now(UTC).replace(tzinfo=None)]
    for path in out.iterdir():
        with contextlib.suppress(ValueError, OverflowError):  # a folder with a name of another kind
            times.append(datetime.strptime(path.name.partition("-")[0], _STAMP) + timedelta(seconds=1))
    return max(times).strftime(_STAMP)


def find(out: Path, identity: str) -> RunState:
    """The run of that name; `last` is the newest. BadInput where there is none."""
    known = run_names(out)
    wanted = known[-1] if identity == "last" and known else identity
    if wanted not in known:
        newest = ", ".join(known[:-4:-1]) or "none yet"
        raise BadInput(f"there is no run {identity!r}; the newest are: {newest} (`lab list` shows them)")
    return RunState.read(out / wanted)


def run_names(out: Path) -> list[str]:
    """The runs that are kept, oldest first."""
    return sorted(path.parent.name for path in out.glob("*/run.json"))


def all_runs(out: Path) -> list[RunState]:
    """Every readable run, oldest first."""
    found = []
    for name in run_names(out):
        with contextlib.suppress(BadInput):
            found.append(RunState.read(out / name))
    return found
