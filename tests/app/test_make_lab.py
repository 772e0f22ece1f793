"""`make lab`: JupyterLab on this machine only, and only for who has the token."""

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from lablib.core.store import PROJECT

from .conftest import PATIENCE, TAG, Lab, listens_on

pytestmark = pytest.mark.slow

# what a test needs and what a careless person may have set: neither may open the server to others
CONFIG = {"ServerApp": {"allow_root": True, "open_browser": False, "ip": "0.0.0.0"}}


def command_of_make_lab() -> list[str]:
    """The Makefile's own line, with the programs of this Python, wherever they were installed."""
    dry = ["make", "--no-print-directory", "--dry-run", "lab"]
    done = subprocess.run(dry, cwd=PROJECT, capture_output=True, text=True, check=True)
    program, *rest = shlex.split(done.stdout.splitlines()[-1])
    return [str(Path(sys.executable).parent / Path(program).name), *rest]


def told_by(runtime: Path) -> dict | None:
    """What a server says of itself; None while its file is not there, or half written."""
    for path in runtime.glob("jpserver-*.json"):
        with contextlib.suppress(json.JSONDecodeError):
            return json.loads(path.read_text())
    return None


@pytest.fixture(scope="module")
def server(lab: Lab):
    """JupyterLab as `make lab` starts it, on a free port: its process and what it says of itself."""
    for name in ("config", "runtime", "data", "ipython"):
        (lab.folder / name).mkdir()
    (lab.folder / "config" / "jupyter_server_config.json").write_text(json.dumps(CONFIG))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("JUPYTER")}
    environ |= {f"JUPYTER_{name.upper()}_DIR": str(lab.folder / name) for name in ("config", "runtime", "data")}
    environ |= {"IPYTHONDIR": str(lab.folder / "ipython"), "JUPYTER_PORT": "0", TAG: lab.tag}
    with (lab.folder / "log").open("w") as log:
        process = subprocess.Popen(command_of_make_lab(), cwd=PROJECT, env=environ, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + PATIENCE
        own = psutil.Process(process.pid)
        while (facts := told_by(lab.folder / "runtime")) is None or not listens_on(own):
            assert process.poll() is None, (lab.folder / "log").read_text()
            assert time.monotonic() < deadline, (lab.folder / "log").read_text()
            time.sleep(0.1)
        yield own, facts
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
    assert lab.left_over(within=100) == []


def ask(server, path: str, token: str = "") -> tuple[int, str]:
    """Status and final address of a request."""
    address = f"http://127.0.0.1:{server[1]['port']}{path}"
    request = urllib.request.Request(address, headers={"Authorization": f"token {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.url
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.url


def test_it_listens_on_this_machine_only(server):
    assert listens_on(server[0])
    assert listens_on(server[0]) <= {"127.0.0.1", "::1"}


def test_without_the_token_there_is_no_way_in(server):
    token = server[1]["token"]
    assert len(token) >= 32
    for wrong in ("", "0" * len(token)):
        assert ask(server, "/api/contents", wrong)[0] == 403
        status, address = ask(server, "/lab", wrong)
        assert (status, "/login" in address) == (200, True) or status == 403


def test_with_the_token_it_opens_notebook_00(server):
    token = server[1]["token"]
    assert ask(server, "/api/contents/00_start_here.ipynb", token)[0] == 200
    assert ask(server, "/lab/tree/00_start_here.ipynb", token)[0] == 200
