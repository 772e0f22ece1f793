"""CPU seconds of a call, in this process and in all that it started."""

import contextlib
import resource
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psutil

T = TypeVar("T")


def timed(call: Callable[..., T], *arguments: Any, **options: Any) -> tuple[T, float]:
    """What a call gives, and the CPU seconds spent in it (not wall time) by this process and its children."""
    before, start = children_seconds(), time.process_time()
    result = call(*arguments, **options)
    own = time.process_time() - start
    return result, own + max(0.0, children_seconds() - before)


def children_seconds() -> float:
    """CPU seconds so far of all that this process started, and of what they started.

    Those that have ended and were waited for count, however they ended, and those that still run, such as the workers
    of an open pool. A process counts as nothing once whoever started it died without waiting for it.
    """
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has just ended
            seconds += sum(process.cpu_times()[:4])  # user and system, its own and those of its children that ended
    return seconds
