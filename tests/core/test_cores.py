"""How many cores a process may use: its affinity, and the quota of its control groups in both versions."""

import math
import os
import subprocess
import sys

import pytest

from lablib.core import cores
from lablib.core.cores import core_count, granted

ONE = "0::/user/lab\n"
OLD = "12:memory:/lab\n4:cpu,cpuacct:/lab\n1:name=systemd:/x\n0::/\n"


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        (ONE, {"user/lab/cpu.max": "150000 100000"}, 1.5),
        (ONE, {"user/lab/cpu.max": "max 100000", "user/cpu.max": "50000 100000"}, 0.5),  # a limit of the group above
        (ONE, {"user/lab/cpu.max": "400000 100000", "user/cpu.max": "200000 100000"}, 2.0),
        (ONE, {"cpu.max": "300000 100000"}, 3.0),  # in a container, which has its own group as root
        (ONE, {"user/lab/cpu.max": "max 100000"}, math.inf),
        (ONE, {"other/cpu.max": "10000 100000"}, math.inf),
        (ONE, {"user/lab/cpu.max": "nonsense"}, math.inf),
        (OLD, {"cpu,cpuacct/lab/cpu.cfs_quota_us": "250000", "cpu,cpuacct/lab/cpu.cfs_period_us": "100000"}, 2.5),
        (OLD, {"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1.0),
        (OLD, {"cpu/lab/cpu.cfs_quota_us": "-1", "cpu/lab/cpu.cfs_period_us": "100000"}, math.inf),
        (OLD, {"memory/lab/cpu.max": "100000 100000"}, math.inf),
        ("no such line\n", {"cpu.max": "100000 100000"}, math.inf),
        (None, {}, math.inf),
    ],
)
def test_the_least_quota_of_the_groups_counts(tmp_path, membership, files, expected):
    if membership is not None:
        (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        (tmp_path / "fs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "fs" / name).write_text(text)
    assert granted(tmp_path / "cgroup", tmp_path / "fs") == expected


@pytest.mark.parametrize(("quota", "expected"), [(0.2, 1), (1.0, 1), (1.5, 2), (3.0, 3), (9.0, 4), (math.inf, 4)])
def test_a_part_of_a_core_counts_as_one_and_never_more_than_may_be_used(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "process_cpu_count", lambda: 4, raising=False)
    monkeypatch.setattr(cores, "granted", lambda: quota)
    assert core_count() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_a_process_bound_to_one_core_has_one_worker():
    program = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
    program += "from lablib.core.experiment import worker_count; from lablib.core.provenance import provenance; "
    program += "print(worker_count(), provenance()['cores'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "1"]
