"""`--on ADDRESS`: the arms of a command go to the workers of a Dask scheduler, or of one that is started here."""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

from lablib.app.errors import BadInput
from lablib.core import cluster
from lablib.core.away import ON, Unusable

LOCAL = "local"


@contextlib.contextmanager
def arms_on(on: str | None, workers: int) -> Iterator[None]:
    """Inside the block this process and its children send arms to the scheduler `on`; None: they do not.

    `local` starts a scheduler with as many workers on this machine, and stops them behind the block.
    """
    if on is None:
        yield
        return
    if not on:  # such as an unset variable of a shell
        raise BadInput("--on is empty; name a Dask scheduler, such as tcp://HOST:PORT, or local")
    with _own_cluster(workers) if on == LOCAL else contextlib.nullcontext(on) as address:
        before = os.environ.get(ON)
        os.environ[ON] = address
        try:
            yield
        finally:
            cluster.forget()  # before a scheduler of our own goes
            os.environ.pop(ON)
            os.environ |= {ON: before} if before is not None else {}


@contextlib.contextmanager
def _own_cluster(workers: int) -> Iterator[str]:
    """The address of a scheduler that only this machine can reach, with its workers."""
    with _one_line():
        cluster.need_dask()
    from distributed import LocalCluster

    single: dict[str, Any] = {"n_workers": workers, "threads_per_worker": 1, "processes": True, "memory_limit": 0}
    with LocalCluster(host="127.0.0.1", dashboard_address=None, **single) as own:
        yield own.scheduler_address


def refuse_unless_usable() -> None:
    """BadInput, in one line, where arms are to go to a scheduler and cannot."""
    if (address := cluster.wanted()) is None:
        return
    from lablib.core.experiment import all_experiments

    all_experiments()  # what they read, such as a corpus, must be the same on the workers
    with _one_line():
        cluster.cluster(address)


def with_usable_workers(do: Callable[[dict[str, Any]], int], job: dict[str, Any]) -> int:
    """Do a job, whose arms may go to a scheduler, and leave the scheduler behind it."""
    try:
        refuse_unless_usable()
        return do(job)
    finally:
        cluster.forget()


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """What makes a scheduler unusable is bad input of a command."""
    try:
        yield
    except Unusable as reason:
        raise BadInput(str(reason)) from None
