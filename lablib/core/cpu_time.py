"""CPU seconds of a call, in this process and in all that it started."""

import contextlib
import os
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def timed(call: Callable[..., T], *arguments: Any, **options: Any) -> tuple[T, float]:
    """What a call gives, and the CPU seconds spent in it (not wall time) by this process and its children."""
    before, start = children_seconds(), time.process_time()
    result = call(*arguments, **options)
    own = time.process_time() - start
    return result, own + max(0.0, children_seconds() - before)


def children_seconds() -> float:
    """CPU seconds so far of all that this process started, and of what they started.

    Those that have ended and were waited for count, however they ended; on Linux those too that still run, such as the
    workers of an open pool. A process counts as nothing once whoever started it died without waiting for it.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + sum(map(_seconds_of_running, _children(os.getpid())))


def _seconds_of_running(process: int) -> float:
    """CPU seconds of a child, of its children that ended, and of those that run."""
    try:  # behind the name, which may hold anything: state, parent, ..., then own and children's ticks
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # it has just ended
        return 0.0
    ticks = sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK") + sum(map(_seconds_of_running, _children(process)))


def _children(process: int) -> Iterator[int]:
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # a thread that has just ended
            yield from map(int, path.read_text().split())
