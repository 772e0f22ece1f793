"""A JupyterLab of its own: fresh folders, loopback only, with its token, for copies of the notebooks."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lablib.core.store import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
PATIENCE = 900  # seconds: the last resort against hanging
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False}  # the server would ask the network


@dataclass(frozen=True)
class Server:
    """Where a running JupyterLab answers, and the token without which it does not."""

    home: str  # host:port
    token: str

    def address(self, notebook: str) -> str:
        return f"http://{self.home}/lab/tree/{notebook}?reset&token={self.token}"


@contextmanager
def jupyterlab(folder: Path) -> Iterator[Server]:
    """Start the server with all that it reads and writes in folders of its own; stop it and its kernels in the end."""
    work = folder / "notebooks"
    work.mkdir(parents=True)
    for file in (*NOTEBOOKS, *NOTEBOOKS[0].parent.glob("*.svg")):
        shutil.copy(file, work)
    settings = folder / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS))
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1"]
    command += ["--KernelManager.transport=ipc"]  # two kernels that start side by side may choose one port
    command += ["--port=0", "--LabApp.expose_app_in_browser=True", f"--ServerApp.root_dir={work}"]
    with (folder / "server.log").open("w") as log, tempfile.TemporaryDirectory() as runtime:
        environ = _environment(folder) | {"JUPYTER_RUNTIME_DIR": runtime}  # short: it holds the kernels' sockets
        process = subprocess.Popen(
            command, cwd=work, env=environ, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield _answering(process, Path(runtime, f"jpserver-{process.pid}.json"), folder / "server.log")
        finally:
            _stop(process)


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LAB_", "JUPYTER"))}
    folders = {
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTERLAB_SETTINGS_DIR": "settings",
        "JUPYTERLAB_WORKSPACES_DIR": "workspaces",
        "IPYTHONDIR": "ipython",
        "LAB_HOME": "lab-home",
    }
    return kept | {name: str(folder / where) for name, where in folders.items()} | {"LAB_SCALE": "smoke"}


def _answering(process: subprocess.Popen, facts: Path, log: Path) -> Server:
    """Wait for the file of facts, in which the server says its address and token."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(FileNotFoundError, json.JSONDecodeError):  # not there yet, or half written
            found = json.loads(facts.read_text())
            return Server(home=f"127.0.0.1:{found['port']}", token=found["token"])
        time.sleep(0.2)
    raise RuntimeError("JupyterLab did not start:\n" + log.read_text()[-3000:])


def _stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)  # it shuts its kernels down itself
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=20)  # then it is killed
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
