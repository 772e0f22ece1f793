"""Small notebooks, and `lab` as a person starts it: in a process of its own, tagged so that nothing can hide."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import psutil
import pytest

PARAMETERS = """\
seed: int = 0  # the random seed
rates: list[float] = [0.1]  # learning rates
scale: str | None = None  # smoke, lab or full
interactive: bool | None = None  # widgets or still pictures"""
TAG = "LAB_TEST_TAG"
PATIENCE = 900.0  # seconds until a `lab` counts as hanging: more than ten times what any test here needs when idle
SWEEP = '''\
"""An experiment that lies beside a notebook and logs what it computes, in whatever process."""

import dataclasses
import os
import signal
import time
from pathlib import Path

import pandas as pd

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment, run_all


@dataclasses.dataclass(frozen=True, kw_only=True)
class SweepConfig(Config):
    number: int = 0


def arms(scale):
    return grid(SweepConfig(), number=range(4))


@experiment("testing/sweep", version=1, arms=arms)
def sweep(cfg):
    with open("computed.txt", "a") as log:
        log.write(f"{cfg.number}\\n")
    IN_EVERY_ARM
    return pd.DataFrame({"third": [cfg.number / 3]})
'''
RUN_SWEEP = "from sweep import *; print(run_all(sweep, arms(scale), in_process=True)['third'].sum())"


def write_notebook(folder: Path, name: str, *code: str, parameters: str | None = PARAMETERS, prose: str = "") -> Path:
    """A notebook with a question, a tagged parameters cell, and the given code cells."""
    cells = [nbformat.v4.new_markdown_cell(f"# About {name}\n\n## The question\n\nDoes **{name}** hold?\n\n{prose}")]
    if parameters is not None:
        cells.append(nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}))
    cells.append(nbformat.v4.new_markdown_cell("## What happened"))
    cells += [nbformat.v4.new_code_cell(text) for text in code]
    # a kernelspec of another machine: the lab must not look for it
    spec = {"kernelspec": {"name": "elsewhere", "display_name": "Elsewhere", "language": "python"}}
    path = folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=spec), path)
    return path


def write_sweep(folder: Path, in_every_arm: str = "pass", *, more: str = "") -> Path:
    """`sweep.py` with an experiment of four arms; the file that it logs its computations to."""
    (folder / "sweep.py").write_text(SWEEP.replace("IN_EVERY_ARM", in_every_arm) + more)
    return folder / "computed.txt"


@dataclasses.dataclass
class Lab:
    """Starts `lab` with a tag that every process below it inherits, and ends all that have the tag."""

    folder: Path
    environ: dict[str, str] = dataclasses.field(default_factory=dict)
    prefix: list[str] = dataclasses.field(default_factory=list)  # such as a namespace to start it in
    root: Path = Path("/")  # the file system as it is seen there
    tag: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    @property
    def out(self) -> Path:
        return self.folder / "runs"

    def seen(self, path: Path) -> Path:
        """Where this process finds what `lab` knows by that path."""
        return self.root / path.relative_to("/")

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def start(self, *arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [*self.prefix, sys.executable, "-m", "lablib.app.cli", *arguments],
            cwd=self.folder,
            env=os.environ | {TAG: self.tag, "LAB_HOME": str(self.home)} | self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        """Exit code and text of `lab` with these arguments."""
        return self.finish(self.start(*arguments))

    def finish(self, process: subprocess.Popen) -> tuple[int, str]:
        """Exit code and text of a `lab` that was started; one that hangs is ended, and the test fails."""
        try:
            text, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.end()
            raise
        return process.returncode, text

    def wait_until(self, true: Callable[[], bool], process: subprocess.Popen) -> None:
        """Wait for something that a started `lab` does; the test fails where it ends or hangs before."""
        deadline = time.monotonic() + PATIENCE
        while not true():
            if process.poll() is not None or time.monotonic() > deadline:
                self.end()
                pytest.fail(f"it ended or hung too early: {process.communicate()[0]}")
            time.sleep(0.05)

    def end(self) -> None:
        """Kill all that was started below this lab and still lives."""
        while found := list(self.processes()):
            for process, _ in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            time.sleep(0.05)

    def last_run(self) -> dict:
        """The newest run.json."""
        return json.loads(max(self.seen(self.out).glob("*/run.json")).read_text())

    def statuses(self) -> dict[str, str]:
        return {run["name"]: run["status"] for run in self.last_run()["notebooks"]}

    def errors(self) -> dict[str, str | None]:
        return {run["name"]: run["error"] for run in self.last_run()["notebooks"]}

    def executed(self, name: str):
        """The executed notebook of the newest run."""
        return nbformat.read(self.seen(self.out) / self.last_run()["id"] / f"{name}.ipynb", as_version=4)

    def left_over(self, *, within: float = 0.0) -> list[str]:
        """What still lives of all that was started; waits for it to go, at most `within` seconds."""
        deadline = time.monotonic() + within
        while (found := [name for _, name in self.processes()]) and time.monotonic() < deadline:
            time.sleep(0.1)
        return found

    def processes(self) -> Iterator[tuple[psutil.Process, str]]:
        """Every living process that was started below this lab, with its command."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(TAG) == self.tag:
                    yield process, " ".join(process.cmdline())[:120]
            except (psutil.Error, OSError):
                continue


def listens_on(process: psutil.Process) -> set[str]:
    """The addresses at which a process waits for connections, as the system tells them."""
    return {one.laddr.ip for one in process.net_connections(kind="inet") if one.status == psutil.CONN_LISTEN}


def printed(notebook) -> str:
    return "".join(o["text"] for cell in notebook.cells for o in cell.get("outputs", []) if o.output_type == "stream")


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[Lab]:
    """A lab for all tests of a file; what a failed test left running ends with it."""
    made = Lab(tmp_path_factory.mktemp("lab"))
    yield made
    made.end()


@pytest.fixture
def own_lab(tmp_path) -> Iterator[Lab]:
    """A lab for one test."""
    made = Lab(tmp_path)
    yield made
    made.end()
