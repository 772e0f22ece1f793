"""Stopping `lab run`: by Ctrl-C, SIGTERM and SIGKILL, nothing lives on and the record says so."""

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from lablib.app import report, run_state

from .conftest import Lab, listens_on, write_notebook

pytestmark = pytest.mark.slow

# a kernel with a worker and a process of another session; it ends only where there is a file `go`
HANGS = """\
import pathlib, subprocess, time
from lablib.core.experiment import worker_pool
if not pathlib.Path("go").exists():
    pool = worker_pool(1)
    print(pool.submit(int, 7).result(), flush=True)
    pool.submit(time.sleep, 3600)
    subprocess.Popen(["sleep", "3600"], start_new_session=True)
    pathlib.Path("up").touch()
    time.sleep(3600)"""

# processes that nothing but their descent tells: of another session, without this environment, one without its parent
HIDES = """\
import os, pathlib, signal, subprocess, time
alone = {"env": {}, "start_new_session": True}
first = subprocess.Popen(["sleep", "3600"], **alone).pid
second = subprocess.check_output(["sh", "-c", "sleep 3600 >/dev/null 2>&1 & echo $!"], **alone)
pathlib.Path(f"NAME-pids").write_text(f"{first} {int(second)}")
"""
ENDS = {"ok": "", "failed": "1 / 0", "killed": "os.kill(os.getpid(), signal.SIGKILL)", "hangs": "time.sleep(3600)"}


@pytest.fixture(scope="module")
def hanging(lab: Lab):
    """Starts a run of the named notebooks, and gives it when `hangs` hangs with all its processes up."""
    write_notebook(lab.folder, "first", "1 + 1")
    write_notebook(lab.folder, "hangs", HANGS)
    write_notebook(lab.folder, "last", "1 + 1")

    def start(*names: str):
        (lab.folder / "up").unlink(missing_ok=True)
        names = tuple(f"{name}.ipynb" for name in names)
        process = lab.start("run", *names, "--scale", "smoke", "--workers", "1", "--out", str(lab.out))
        lab.wait_until((lab.folder / "up").exists, process)
        assert len(lab.left_over()) >= 5  # lab, its child, the kernel, a worker, sleep
        return process

    return start


def test_a_kernel_listens_on_this_machine_only_and_its_run_cannot_be_resumed_while_it_lives(lab, hanging):
    process = hanging("hangs")
    addresses = {name: listens_on(one) for one, name in lab.processes()}
    kernel = next(found for name, found in addresses.items() if "lablib.app.kernel" in name)
    assert kernel
    assert set().union(*addresses.values()) <= {"127.0.0.1", "::1"}
    code, text = lab.run("run", "--resume", "last", "--out", str(lab.out))
    assert code == 2
    assert f"is still running (process {process.pid}); stop it first, or wait" in text
    assert lab.last_run()["pid"] == process.pid
    process.send_signal(signal.SIGHUP)  # the terminal is closed
    code, text = lab.finish(process)
    assert code == 129, text
    assert lab.left_over() == []
    assert lab.statuses() == {"hangs": "cancelled"}


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_it_whole_and_is_put_on_record(lab, hanging, number, expected):
    process = hanging("hangs", "last")
    process.send_signal(number)
    code, text = lab.finish(process)
    assert code == expected, text
    assert lab.left_over() == []
    assert lab.statuses() == {"hangs": "cancelled", "last": "cancelled"}
    assert lab.last_run()["status"] == "cancelled"
    assert "cancelled" in (lab.out / lab.last_run()["id"] / "report.html").read_text()


def test_a_killed_lab_leaves_nothing_and_is_seen_as_interrupted(lab, hanging):
    process = hanging("first", "hangs", "last")
    process.kill()
    lab.finish(process)
    assert lab.left_over(within=100) == []
    assert lab.last_run()["status"] == "running"
    record = run_state.find(lab.out, "last")
    assert record.seen_status == "interrupted"
    assert [record.seen_status_of(run) for run in record.notebooks] == ["ok", "interrupted", "cancelled"]
    assert "interrupted: lab itself died" in report.build(record)
    (lab.folder / "go").touch()
    code, text = lab.run("run", "--resume", record.id, "--workers", "2", "--out", str(lab.out))
    assert code == 0, text
    assert set(lab.statuses().values()) == {"ok"}
    assert "first  starting" not in text


def hidden(folder: Path) -> list[psutil.Process]:
    """The processes that the notebooks there have hidden and that live."""
    found = []
    for path in folder.glob("*-pids"):
        for pid in path.read_text().split():
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(int(pid))
                if process.status() != psutil.STATUS_ZOMBIE and process.name() == "sleep":
                    found.append(process)
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps an orphan below who started its parent")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_that_hides_ends_with_its_notebook_and_a_stranger_lives(own_lab, number):
    """Side by side; the one that hangs is stopped with `lab`, and then `lab` is killed."""
    names = ["ok", "failed", "killed", "hangs"] if number == signal.SIGTERM else ["hangs"]
    for name in names:
        write_notebook(own_lab.folder, name, HIDES.replace("NAME", name) + ENDS[name])
    strangers = [subprocess.Popen(["sleep", "3600"], env={"LAB_PROCESS_MARK": mark}) for mark in ("", "another")]
    files = [f"{name}.ipynb" for name in names]
    process = own_lab.start("run", *files, "--scale", "smoke", "--workers", "4", "--out", str(own_lab.out))
    try:
        own_lab.wait_until((own_lab.folder / "hangs-pids").exists, process)
        quick = [name for name in names if name != "hangs"]
        own_lab.wait_until(lambda: all(own_lab.statuses()[name] == name for name in quick), process)
        assert len(hidden(own_lab.folder)) == 2  # those of the one that hangs
        process.send_signal(number)
        own_lab.finish(process)
        assert own_lab.left_over(within=100) == []
        assert hidden(own_lab.folder) == []
        assert [one.poll() for one in strangers] == [None, None]
    finally:
        for one in [*strangers, *hidden(own_lab.folder)]:
            one.kill()
        for one in strangers:
            one.wait()


def test_a_run_that_lives_cannot_be_resumed(tmp_path):
    folder = tmp_path / "20260101T000000Z-abcd"
    folder.mkdir()
    fields = {"scale": "smoke", "parameters": {}, "workers": 1, "timeout": 9.0, "provenance": {}, "notebooks": []}
    record = run_state.RunState(folder=folder, **fields)
    record.claim()
    record.save()
    assert run_state.find(tmp_path, "last").seen_status == "running"
    record.pid_started = "tick 1"  # another process with the same number
    record.save()
    assert run_state.find(tmp_path, "last").seen_status == "interrupted"
