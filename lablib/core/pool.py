"""Processes that start anew and share nothing with this one."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def fresh_processes(workers: int, **options: Any) -> ProcessPoolExecutor:
    """A pool of them. Raises OSError, with what to do, where the system gives it no semaphores."""
    try:
        return ProcessPoolExecutor(workers, mp_context=get_context("spawn"), **options)
    except OSError as error:
        words = "no worker process can be started, as /dev/shm cannot be used; mount it writable"
        raise OSError(error.errno, f"{words} ({error.strerror})") from None
