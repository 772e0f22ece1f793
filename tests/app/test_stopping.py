"""Stopping `lab run`: by Ctrl-C, SIGTERM and SIGKILL, nothing lives on and the record says so."""

import signal

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
