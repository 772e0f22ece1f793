"""A Dask scheduler and workers as processes of their own on this machine, and an experiment that waits for a word."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from .conftest import PATIENCE, TAG

SHORT = {"DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "3s"}  # how long a connection and a first worker are waited for
# an arm says that it has begun, and by whom it is computed, and ends when the file `go` is there
WAITING = """\
import dataclasses
import os
import time
from pathlib import Path

import pandas as pd
import torch

from lablib.core.cluster import must_agree
from lablib.core.config import Config, grid
from lablib.core.experiment import experiment, run_all
from lablib.core.files import write_atomically
from lablib.core.measure import in_fresh_process
from lablib.core.store import lab_home

HERE = Path(__file__).parent


@must_agree("weather")
def weather():
    return os.environ.get("WEATHER")


@dataclasses.dataclass(frozen=True, kw_only=True)
class WaitingConfig(Config):
    number: int = 0


def arms(scale):
    return grid(WaitingConfig(), number=range(6))


@experiment("testing/waiting", version=1, arms=arms)
def waiting(cfg):
    (HERE / f"begun-{cfg.number}-{os.getpid()}").touch()
    while cfg.number > 0 and not (HERE / "go").exists():
        time.sleep(0.05)
    assert cfg.number or in_fresh_process(abs, -1) == 1  # some arms start a process
    write_atomically(lab_home() / "models" / "x" / f"{cfg.number}.bin", b"%d" % cfg.number)
    numbers = torch.rand(1000, generator=torch.Generator().manual_seed(cfg.number))
    return pd.DataFrame({"total": [float(numbers.exp().sum())], "threads": torch.get_num_threads()})
"""


class Dask:
    """`tag` marks all of its processes as those of a `Lab`, which ends what is left of them."""

    def __init__(self, folder: Path, tag: str, code: Path | None = None):
        self.folder, self.code, self.started = folder, code, []
        self.environ = os.environ | SHORT | {TAG: tag, "PYTHONPATH": f"{code or ''}:{folder}"}
        (folder / "waiting.py").write_text(WAITING)

    def scheduler(self) -> str:
        """Start one; its address."""
        place = self.folder / "scheduler.json"
        self._start("scheduler", "--scheduler-file", str(place), "--port", "0", "--host", "127.0.0.1")
        self.wait_until(lambda: place.exists() and place.read_text().endswith("}"))
        return json.loads(place.read_text())["address"]

    def worker(self, address: str, *, threads: int = 1, nanny: bool = False, **environ: str) -> subprocess.Popen:
        """Start one, with a LAB_HOME that nothing can be written to; without a nanny it stays dead."""
        environ = {"LAB_HOME": "/dev/null/nowhere"} | environ
        how = (
            "--nanny" if nanny else "--no-nanny",
            "--nthreads",
            str(threads),
            "--local-directory",
            str(self.folder / "dask"),
        )
        return self._start("worker", address, *how, **environ)

    def _start(self, kind: str, *options: str, **environ: str) -> subprocess.Popen:
        command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *options, "--no-dashboard"]
        how = {"env": self.environ | environ, "cwd": self.folder, "stderr": subprocess.STDOUT}
        with (self.folder / f"{kind}-{len(self.started)}.log").open("w") as log:
            self.started.append(subprocess.Popen(command, stdout=log, **how))
        return self.started[-1]

    def begun(self) -> dict[int, set[int]]:
        """By number, the processes that began that arm."""
        found: dict[int, set[int]] = {}
        for path in self.folder.glob("begun-*"):
            _, number, pid = path.name.split("-")
            found.setdefault(int(number), set()).add(int(pid))
        return found

    def go(self) -> None:
        (self.folder / "go").touch()

    def wait_until(self, true: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, [log.read_text() for log in self.folder.glob("*.log")]
            time.sleep(0.05)

    def end(self) -> None:
        for process in self.started:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()
