"""A notebook out of memory: refused by the system, killed by it, or with a worker killed; the rest goes on."""

import contextlib
import subprocess
import uuid
from pathlib import Path

import pytest

from .conftest import RUN_SWEEP, Lab, write_notebook, write_sweep

pytestmark = pytest.mark.slow

LIMIT = 192 << 20  # bytes beyond which the system kills
KILLED_BY_THE_SYSTEM = """

def use_up_memory(name):
    group = os.environ["A_MEMORY_GROUP"]
    if group == "none":  # no memory limit can be set here: what the system would send
        os.kill(os.getpid(), signal.SIGKILL)
    Path(group, name, "cgroup.procs").write_text(str(os.getpid()))
    bytearray(1 << 30)
"""
REFUSED = """\
import resource
from pathlib import Path
if not Path("room").exists():
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + (64 << 20), resource.RLIM_INFINITY))
    bytearray(1 << 30)"""
NAMES = ("refused", "killed", "orphan", "sweeps")


@pytest.fixture(scope="module")
def memory_group() -> Path | None:
    """A control group with a memory limit for each of two processes, where the system lets us have one."""
    for root, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(root) / f"lab-test-{uuid.uuid4().hex[:8]}"
        parts = [group / "kernel", group / "worker"]
        try:
            group.mkdir()
            with contextlib.suppress(OSError):  # version 2 only
                (group / "cgroup.subtree_control").write_text("+memory")
            for part in parts:
                part.mkdir()
                (part / limit).write_text(str(LIMIT))
                subprocess.run(["sh", "-c", 'echo $$ > "$0"/cgroup.procs', part], check=True, capture_output=True)
            yield group
            return
        except (OSError, subprocess.CalledProcessError):
            continue
        finally:
            for folder in (*parts, group):
                with contextlib.suppress(OSError):
                    folder.rmdir()
    yield None


@pytest.fixture(scope="module")
def hungry(lab: Lab, memory_group) -> tuple[int, str, list[str]]:
    """A smoke run in which four notebooks run out of memory, each in its own way; and the arms it computed."""
    log = write_sweep(
        lab.folder,
        "if cfg.number == 2 and not Path('room').exists(): use_up_memory('worker')",
        more=KILLED_BY_THE_SYSTEM,
    )
    unless = "if not Path('room').exists():"
    write_notebook(lab.folder, "refused", REFUSED)
    write_notebook(lab.folder, "killed", "from sweep import *", f"{unless} use_up_memory('kernel')")
    write_notebook(
        lab.folder,
        "orphan",
        f"import os, signal\nfrom pathlib import Path\n{unless} os.kill(os.getppid(), signal.SIGKILL)",
    )
    write_notebook(lab.folder, "sweeps", RUN_SWEEP.replace(", in_process=True", ""))
    lab.environ = {"A_MEMORY_GROUP": str(memory_group or "none")}
    names = [f"{name}.ipynb" for name in NAMES]
    code, text = lab.run("run", *names, "--scale", "smoke", "--workers", "2", "--out", str(lab.out))
    return code, text, log.read_text().split()


def test_each_notebook_says_how_memory_ran_out_and_no_notebook_takes_another_with_it(lab, hungry):
    code, text, _ = hungry
    expected = {"refused": "failed", "killed": "killed", "orphan": "killed", "sweeps": "failed"}
    assert lab.statuses() == expected, text
    assert (code, lab.last_run()["status"]) == (1, "failed")
    errors = lab.errors()
    assert errors["refused"].startswith("MemoryError")
    assert errors["killed"] == "the kernel died (killed, or out of memory)"
    assert errors["orphan"] == "its process was killed by signal 9 (out of memory?)"
    assert errors["sweeps"].startswith("ArmsFailed: a worker process died (killed, or out of memory)")
    assert "a smaller LAB_WORKERS" in errors["sweeps"]


def test_the_system_did_kill_them_where_it_lets_us_set_a_limit(hungry, memory_group):
    """Without a control group both killed themselves by the same signal, and there is nothing to count."""
    for part in ("kernel", "worker") if memory_group else ():
        counts = [memory_group / part / name for name in ("memory.oom_control", "memory.events")]
        text = next(path for path in counts if path.exists()).read_text()
        assert int(dict(line.split() for line in text.splitlines())["oom_kill"]) >= 1


def test_nothing_is_left_running(lab, hungry):
    assert lab.left_over() == []


def test_finished_arms_are_kept_and_resuming_computes_only_the_rest(lab, hungry):
    assert hungry[2] == ["0", "1", "2"]
    assert len(list((lab.home / "testing" / "sweep").glob("*.json"))) == 2
    (lab.folder / "room").touch()
    code, text = lab.run("run", "--resume", "last", "--out", str(lab.out))
    assert code == 0, text
    assert set(lab.statuses().values()) == {"ok"}
    assert (lab.folder / "computed.txt").read_text().split() == ["0", "1", "2", "2", "3"]
