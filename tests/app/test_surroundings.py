"""What surrounds `lab`: signals that came in ignored, outputs that go away, a person's own settings."""

import os
import signal
import subprocess
import sys

import pytest

from lablib.core.store import PROJECT

from .conftest import PATIENCE, Lab, printed, write_notebook

pytestmark = pytest.mark.slow

GOES_ON = """\
import pathlib, time
pathlib.Path("up").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.05)
print("to the end")"""


@pytest.mark.parametrize("ignored", ["HUP INT", "HUP INT TERM"])  # of `nohup` in the background; of a service
def test_a_signal_that_came_in_ignored_stops_nothing(own_lab, ignored):
    write_notebook(own_lab.folder, "goes_on", GOES_ON)
    own_lab.prefix = ["sh", "-c", f"trap '' {ignored}; exec \"$@\"", "sh"]
    process = own_lab.start("run", "goes_on.ipynb", "--scale", "smoke", "--out", str(own_lab.out))
    own_lab.wait_until((own_lab.folder / "up").exists, process)
    for name in ignored.split():
        process.send_signal(signal.Signals[f"SIG{name}"])
    for one, words in own_lab.processes():
        if "lablib.app.worker" in words or "lablib.app.kernel" in words:
            one.send_signal(signal.SIGHUP)
    (own_lab.folder / "go").touch()
    code, text = own_lab.finish(process)
    assert code == 0, text
    assert own_lab.statuses() == {"goes_on": "ok"}
    assert printed(own_lab.executed("goes_on")) == "to the end\n"


# the streams of `lab`, as a shell gives them
STREAMS = {
    "first_line": '{ "$@"; echo $? >code; } | head -1',
    "gone": '{ "$@" 2>&1; echo $? >code; } | true',
    "closed": '"$@" >&- 2>&- <&-; echo $? >code',
    "full": '"$@" >/dev/full 2>/dev/full; echo $? >code',
    "full_output": '"$@" >/dev/full; echo $? >code',
    "ascii": 'PYTHONIOENCODING=ascii LC_ALL=C "$@"; echo $? >code',
}


def by_shell(lab: Lab, script: str, *arguments: str) -> tuple[int, str]:
    """The exit code of a `lab` whose streams the script sets, and what is seen of it."""
    command = ["sh", "-c", script, "sh", sys.executable, "-m", "lablib.app.cli", *arguments, "--out", str(lab.out)]
    environ = os.environ | {"LAB_HOME": str(lab.home), "PYTHONPATH": os.environ.get("PYTHONPATH") or str(PROJECT)}
    how = {"capture_output": True, "timeout": PATIENCE, "check": False}
    seen = subprocess.run(command, cwd=lab.folder, env=environ, **how)
    return int((lab.folder / "code").read_text()), (seen.stdout + seen.stderr).decode("ascii", "replace")


@pytest.mark.parametrize("streams", STREAMS)
def test_standard_output_stops_no_run_and_no_other_command(own_lab, streams):
    write_notebook(own_lab.folder, "été", "print('été')")
    code, seen = by_shell(own_lab, STREAMS[streams], "run", "été.ipynb", "--scale", "smoke")
    assert (code, own_lab.last_run()["status"]) == (0, "ok"), seen
    assert own_lab.statuses() == {"été": "ok"}
    assert (own_lab.out / own_lab.last_run()["id"] / "report.html").exists()
    assert "Traceback" not in seen
    assert seen.count("standard output cannot be written: No space left") == (streams == "full_output")
    assert ("\\xe9t\\xe9  ok" in seen) == (streams == "ascii")
    (own_lab.out / own_lab.last_run()["id"] / "report.html").unlink()
    code, seen = by_shell(own_lab, STREAMS[streams], "report", "last")
    assert (code, seen.count("Traceback")) == (0, 0), seen
    assert (own_lab.out / own_lab.last_run()["id"] / "report.html").exists()
    code, seen = by_shell(own_lab, STREAMS[streams], "report", "nowhere")
    assert (code, seen.count("Traceback")) == (2, 0), seen


SHOWS = """\
import os, sys, warnings
import plotly.graph_objects as go
from rich.console import Console
warnings.warn_explicit("only a warning", UserWarning, "here", 1)
print(__debug__, sys.flags.dev_mode, os.environ["MPLBACKEND"], "started" in globals())
print(Console().width, Console().color_system, list({"a", "b", "c", "d", "e"}), open(os.devnull).encoding.lower())
print(len({(lambda: 1).__code__.co_filename, SESSION_FILE}))
go.Figure(go.Scatter(y=[1, 2])).show()"""
SETTINGS = {
    "PLOTLY_RENDERER": "browser",
    "VSCODE_PID": "1",
    "MPLBACKEND": "agg",
    "IPYKERNEL_CELL_NAME": "cell",
    "FORCE_COLOR": "1",
    "TTY_COMPATIBLE": "1",
    "COLUMNS": "33",
    "JUPYTER_COLUMNS": "44",
    "LC_ALL": "C",
    "PYTHONDEVMODE": "1",
    "PYTHONHASHSEED": "7",
    "PYTHONIOENCODING": "ascii",
    "PYTHONOPTIMIZE": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONWARNINGS": "error",
}


def test_a_persons_own_settings_change_nothing_that_a_notebook_shows(own_lab):
    first = "SESSION_FILE = (lambda: 1).__code__.co_filename"
    outputs = []
    own = own_lab.folder / "own"
    for place in (own / "profile_default" / "startup" / "start.py", own / "start.py"):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("started = True")
    (own / "ipython_kernel_config.py").write_text("c.InteractiveShellApp.exec_lines = ['started = True']")
    folders = {"IPYTHONDIR": str(own), "JUPYTER_CONFIG_DIR": str(own), "PYTHONSTARTUP": str(own / "start.py")}
    write_notebook(own_lab.folder, "shows", first, SHOWS)
    for own_lab.environ in ({}, SETTINGS | folders):
        code, text = own_lab.run("run", "shows.ipynb", "--scale", "smoke", "--out", str(own_lab.out))
        assert code == 0, text
        assert "\x1b" not in text
        outputs.append(own_lab.executed("shows").cells[-1].outputs)
    plain, personal = outputs
    assert personal == plain
    assert "True False module://matplotlib_inline.backend_inline False\n" in printed(own_lab.executed("shows"))
    [figure] = [one.data for one in personal if "data" in one]
    assert figure["application/vnd.plotly.v1+json"]["data"][0]["y"] == [1, 2]
