"""The real notebooks, run once as the README says, without a network, and listened to."""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from app.conftest import Lab

COMMAND = ("run", "--scale", "smoke")
SECRET = "correct-horse-battery"
# read by every Python below the lab: whoever asks for a name or a connection beyond this machine is put on a list
LISTENER = """\
import os
import sys
import traceback

HERE = ("127.", "::1", "localhost", "None")


def listen(event, arguments):
    if event == "socket.getaddrinfo":
        asked = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0])
    elif event in ("socket.connect", "socket.bind", "socket.sendto") and isinstance(arguments[1], tuple):
        asked = str(arguments[1][0])
    else:
        return
    if not asked.startswith(HERE):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event} {asked}\\n" + "".join(traceback.format_stack()[-4:-1]))


sys.addaudithook(listen)
"""
# the loopback of a new network is down until someone brings it up (SIOCSIFFLAGS: up, loopback, running)
LOOPBACK = (
    "import fcntl, os, socket, struct, sys; "
    "fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh14x', b'lo', 0x49)); os.execvp(sys.argv[1], sys.argv[1:])"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmokeRun:
    """What came of it: exit code and text, and in the lab's folder the run, the store and what was heard."""

    lab: Lab
    notebooks: list[Path]
    code: int
    text: str

    @property
    def asked(self) -> Path:
        """The list of those who asked for something beyond this machine."""
        return self.lab.folder / "asked"

    @property
    def folder(self) -> Path:
        """The run's own folder: run.json, the executed notebooks, the report."""
        return self.lab.out / self.lab.last_run()["id"]

    def executed(self) -> dict[str, list[dict[str, Any]]]:
        """The code cells of every executed notebook."""
        found = {path.stem: json.loads(path.read_text())["cells"] for path in sorted(self.folder.glob("*.ipynb"))}
        return {name: [cell for cell in cells if cell["cell_type"] == "code"] for name, cells in found.items()}


def run_once(folder: Path, notebooks: Sequence[Path]) -> SmokeRun:
    """Run the notebooks in that folder, unless they have been run there already."""
    lab = Lab(folder)
    (folder / "listener").mkdir(parents=True, exist_ok=True)
    (folder / "listener" / "sitecustomize.py").write_text(LISTENER)
    (folder / "asked").touch()
    path = os.pathsep.join(filter(None, [str(folder / "listener"), os.environ.get("PYTHONPATH")]))
    lab.environ = {"PYTHONPATH": path, "ASKED": str(folder / "asked"), "A_TOKEN": SECRET}
    lab.prefix = without_a_network()
    outcome = folder / "outcome.json"
    if not outcome.exists():
        code, text = lab.run(*COMMAND, *map(str, notebooks), "--out", str(lab.out))
        outcome.write_text(json.dumps({"code": code, "text": text}))
    return SmokeRun(lab=lab, notebooks=list(notebooks), **json.loads(outcome.read_text()))


def without_a_network() -> list[str]:
    """The command that starts another without any network but its own loopback; empty where none is permitted."""
    for how in (["unshare", "--net"], ["unshare", "--user", "--map-root-user", "--net"]):
        command = [*how, sys.executable, "-c", LOOPBACK]
        try:
            subprocess.run([*command, "true"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return command
    return []
