"""How many processor cores this process may use: those it may run on, and what its control group grants (Linux)."""

import contextlib
import math
import os
from pathlib import Path

# where the two versions of control groups keep the CPU time that a group may use, and of how much time
_QUOTAS = {"cpu.max": None, "cpu.cfs_quota_us": "cpu.cfs_period_us"}


def core_count() -> int:
    """Cores that this process may use, at least 1; a part of a core that is granted counts as one."""
    allowed = getattr(os, "process_cpu_count", None)  # Python 3.13
    if allowed is None:
        allowed = (lambda: len(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else os.cpu_count
    return max(1, math.ceil(min(allowed() or 1, granted())))


def worker_count() -> int:
    """How many processes a sweep may use: LAB_WORKERS, else the cores that this process may use."""
    text = os.environ.get("LAB_WORKERS") or str(core_count())
    if not text.isdigit() or int(text) < 1:
        raise ValueError(f"LAB_WORKERS is {text!r}; expected a whole number of at least 1")
    return int(text)


def granted(membership: Path = Path("/proc/self/cgroup"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Cores that the control groups of this process grant, the groups above them included; infinity without a limit."""
    least = math.inf
    with contextlib.suppress(OSError, ValueError):  # elsewhere than on Linux
        for line in membership.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            # in a container the group may be named as the host sees it: then what is there is that of the root
            roots = [groups / name for name in {controllers, "cpu"}] if controllers else [groups, groups / "unified"]
            inner = Path(group.lstrip("/"))
            places = [root / part for root in roots for part in (inner, *inner.parents)]
            least = min([least, *(_quota(place) for place in places)])
    return least


def _quota(group: Path) -> float:
    """Cores that one group grants; infinity where it says nothing or sets no limit."""
    for quota, period in _QUOTAS.items():
        with contextlib.suppress(OSError, ValueError):  # not there, or `max`
            words = (group / quota).read_text().split() + ((group / period).read_text().split() if period else [])
            time, of = map(int, words)
            if time > 0 and of > 0:  # -1 sets no limit
                return time / of
    return math.inf
