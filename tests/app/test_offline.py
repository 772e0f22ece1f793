"""The real notebooks without a network: nothing is asked of it, kernels listen here only, nothing is told of here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lablib.app import checks
from lablib.core.store import PROJECT

from .conftest import Lab

pytestmark = pytest.mark.slow

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
ASKS = "import socket; socket.create_connection(('198.51.100.1', 80), timeout=5)"


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


@pytest.fixture(scope="module")
def offline(lab: Lab) -> tuple[int, str]:
    """All notebooks at smoke scale, where permitted in a namespace without a network."""
    (lab.folder / "listener").mkdir()
    (lab.folder / "listener" / "sitecustomize.py").write_text(LISTENER)
    (lab.folder / "asked").touch()
    lab.environ = {"PYTHONPATH": str(lab.folder / "listener"), "ASKED": str(lab.folder / "asked"), "A_TOKEN": SECRET}
    lab.prefix = without_a_network()
    return lab.run("run", "--scale", "smoke", "--out", str(lab.out))


def test_all_notebooks_run_and_ask_nothing_of_a_network(lab, offline):
    code, text = offline
    assert code == 0, text
    assert set(lab.statuses()) == {path.stem for path in checks.all_notebooks()}
    assert (lab.folder / "asked").read_text() == ""


def test_whoever_asked_would_have_been_heard(lab, offline):
    environ = lab.environ | {"ASKED": str(lab.folder / "control")}
    subprocess.run([*lab.prefix, sys.executable, "-c", ASKS], env=environ, capture_output=True)
    assert "socket.connect 198.51.100.1\n" in (lab.folder / "control").read_text()


def test_there_was_no_network(lab, offline):
    if not lab.prefix:
        pytest.skip("this system permits no network namespaces; that nothing was asked of the network is tested")
    seen = subprocess.run([*lab.prefix, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
    assert [line.split(":")[0].strip() for line in seen.splitlines()[2:]] == ["lo"]


def test_nothing_that_was_kept_names_this_machine_or_holds_a_secret(lab, offline):
    arms = sorted(lab.home.rglob("*.json"))
    assert len(arms) > 5
    assert {json.loads(path.read_text())["status"] for path in arms} == {"ok"}
    run = sorted((lab.out / lab.last_run()["id"]).iterdir())
    assert {path.name for path in run} >= {"run.json", "report.html", "01_seesaw_effect.ipynb"}
    for path in [*arms, *run]:
        text = path.read_text().partition("plotly.js v")[0]
        for leak in (str(lab.folder), str(PROJECT), f"{Path.home()}/", sys.prefix, sys.base_prefix, SECRET):
            assert leak not in text, f"{path.name} holds {leak}"
