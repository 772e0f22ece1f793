"""The process that runs one notebook through papermill and says, cell by cell, how far it is."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import lablib.app.quick_imports  # noqa: F401

# isort: split
import nbformat
import papermill
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_core.paths import jupyter_runtime_dir
from nbclient.exceptions import CellExecutionError, DeadKernelError
from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

from lablib.app.notebook import redact_notebook
from lablib.app.processes import serve
from lablib.core.files import write_atomically
from lablib.core.redact import redactor, strip_ansi

_LONGEST_ERROR = 600
_NEVER = 10**6  # seconds; the whole notebook has a deadline, kept by `lab run`


class EndedEarly(Exception):
    """A notebook that ended itself before its last cell was done."""


class OwnPython(AsyncKernelManager):
    """A kernel in this very Python, whatever kernelspec the notebook or the machine names.

    It is spoken to through files in the scratch folder. A TCP port that is free when it is chosen may be taken when the
    kernel comes to listen; of kernels that start side by side one would die now and then.
    """

    def __init__(self, **options):
        files = Path(jupyter_runtime_dir(), "kernel.json")
        files.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # the system allows the path of such a file about 100 characters
        transport = "ipc" if len(str(files)) < 90 else "tcp"
        super().__init__(transport=transport, connection_file=str(files), **options)

    def client(self, **options):
        client = super().client(**options)
        client.context.rcvhwm = 0  # what is printed faster than it can be read waits here, and is not dropped
        return client

    exit_code: ClassVar[int | None] = None  # of the kernel, negative where a signal killed it

    async def _async_is_alive(self) -> bool:
        if self.provisioner and self.provisioner.process:
            OwnPython.exit_code = self.provisioner.process.poll()
        return await super()._async_is_alive()

    @property
    def kernel_spec(self) -> KernelSpec:
        quiet = "--IPKernelApp.log_level=40"  # else each start warns that its messages are not encrypted
        argv = [sys.executable, "-m", "lablib.app.kernel", "-f", "{connection_file}", quiet]
        return KernelSpec(argv=argv, language="python", display_name="Python of the lab")


class Progress(NotebookExecutionManager):
    """Papermill's bookkeeping, which keeps the notebook redacted and whole, and tells each cell."""

    def __init__(self, nb, write: Callable[[dict[str, Any]], None], tell: Callable[[dict[str, Any]], None]):
        super().__init__(nb, progress_bar=False)
        self.write, self.tell = write, tell
        self.code = [index for index, cell in enumerate(nb.cells) if _is_counted(cell)]
        self.cell, self.last_done, self.error = 0, -1, None

    def save(self, **kwargs):
        self.write(self.nb)
        self.last_save_time = self.now()

    def cell_start(self, cell, cell_index=None, **kwargs):
        if cell_index in self.code:
            self.cell = self.code.index(cell_index) + 1
            self.tell({"cell": self.cell, "cells": len(self.code)})

    def cell_executed(self, cell, cell_index, execute_reply):
        """The kernel has answered; CellExecutionError where it was told to quit, and goes down in a moment."""
        self.last_done = cell_index
        if any(one["source"] == "ask_exit" for one in execute_reply["content"].get("payload", ())):
            raise CellExecutionError("", "SystemExit", "0")

    def cell_exception(self, cell, cell_index=None, *, exception, **kwargs):
        super().cell_exception(cell, cell_index)
        self.error = exception

    def judge(self, death: DeadKernelError | None) -> None:
        """Raise what kept the notebook from its end, if anything did: a cell's error, or the kernel's death."""
        ended_early = f"ended early in cell {self.cell} of {len(self.code)}"
        if self.error is not None:
            if self.error.ename != "SystemExit":
                raise self.error
            if self.cell < len(self.code) or self.error.evalue not in ("", "0", "None"):
                raise EndedEarly(f"{ended_early} (SystemExit: {self.error.evalue or 0})")
        elif death is not None and self.last_done < max(self.code, default=0):
            if OwnPython.exit_code is not None and OwnPython.exit_code >= 0:
                raise EndedEarly(f"{ended_early} (its kernel ended itself with exit code {OwnPython.exit_code})")
            raise death


def _is_counted(cell) -> bool:
    """Whether a person who reads the notebook would count it as a code cell: papermill's own is not in theirs."""
    injected = "injected-parameters" in cell.metadata.get("tags", [])
    return cell.cell_type == "code" and bool(cell.source.strip()) and not injected


class Engine(NBClientEngine):
    """Papermill's nbclient engine with our kernel and our bookkeeping."""

    @classmethod
    def execute_notebook(cls, nb, kernel_name, output_path=None, *, progress_bar, write, tell, **kwargs):
        manager, death = Progress(nb, write, tell), None
        own = {"kernel_manager_class": OwnPython, "on_cell_executed": manager.cell_executed, "iopub_timeout": _NEVER}
        manager.notebook_start()
        try:
            cls.execute_managed_notebook(manager, kernel_name, shell_timeout_interval=1, **own, **kwargs)
        except DeadKernelError as error:
            death = error
        finally:
            manager.notebook_complete()
        manager.judge(death)
        return nbformat.v4.new_notebook()  # papermill would fail it for an error that the cell's tags allow


def run(job: dict[str, Any], tell: Callable[[dict[str, Any]], None]) -> int:
    """Run the job's notebook; the exit code says how it ended, a last message says why."""
    notebook, output = Path(job["notebook"]), Path(job["output"])
    folders = {output.parent: ".", output.parent.parent: "runs", notebook.parent: "."}
    clean = redactor(folders=folders)

    def write(nb: dict[str, Any]) -> None:
        text = json.dumps(redact_notebook(json.loads(json.dumps(nb)), clean), indent=1, ensure_ascii=False)
        write_atomically(output, (text + "\n").encode("utf-8", "backslashreplace"))  # half a surrogate pair is no UTF-8

    papermill_engines.register("lab", Engine)
    options = {"engine_name": "lab", "kernel_name": "python3", "language": "python", "cwd": str(notebook.parent)}
    options |= {"progress_bar": False, "log_output": False, "start_timeout": 120, "store_widget_state": False}
    path = str(notebook).replace("{", "{{").replace("}", "}}")  # papermill formats its paths
    try:  # no path to write to: our engine writes
        papermill.execute_notebook(path, None, job["parameters"], write=write, tell=tell, **options)
    except Exception as error:
        killed = isinstance(error, DeadKernelError) or "Kernel died" in str(error)
        tell({"status": "killed" if killed else "failed", "error": _line(error, clean)})
        return 1
    tell({"status": "ok", "error": None})
    return 0


def _line(error: Exception, clean: Callable[[str], str]) -> str:
    """One short line: the cell's own exception, or that the kernel died."""
    if isinstance(error, DeadKernelError):
        return "the kernel died (killed, or out of memory)"
    if isinstance(error, EndedEarly):
        text = f"{error}"
    elif isinstance(error, CellExecutionError):
        text = f"{error.ename}: {error.evalue}"
    else:
        text = f"{type(error).__name__}: {error}"
    text = " ".join(clean(strip_ansi(text)).split()).removesuffix(":")
    return text if len(text) <= _LONGEST_ERROR else text[:_LONGEST_ERROR] + " ..."


if __name__ == "__main__":
    serve(run)
