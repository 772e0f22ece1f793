"""CPU seconds are those of this process and of all that it started: their own counts agree."""

import contextlib
import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pandas as pd
import pytest

from lablib.core.config import Config
from lablib.core.cpu_time import children_seconds, timed
from lablib.core.experiment import Experiment
from lablib.core.measure import in_fresh_process

BURN = """
import os, subprocess, sys, time
deep, end = int(sys.argv[1]), sys.argv[2]
below = float(subprocess.run([sys.executable, "-c", sys.argv[3], str(deep - 1), "well", sys.argv[3]],
                             stdout=subprocess.PIPE).stdout) if deep else 0.0
while time.process_time() < 0.3:
    pass
print(below + time.process_time(), flush=True)
if end == "killed":
    os.kill(os.getpid(), 9)
if end == "waits":
    sys.stdin.read()
"""
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what still runs is read from Linux's /proc")


def burn(deep: int = 0, end: str = "well") -> float:
    """CPU seconds of a process that burns 0.3, below `deep` others that do, as they count themselves."""
    command = [sys.executable, "-c", BURN, str(deep), end, BURN]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout)


def burn_here() -> float:
    start = time.process_time()
    while time.process_time() - start < 0.3:
        pass
    return time.process_time()  # of a fresh process: all


def held(found: float, own: float) -> bool:
    """Whether a count holds the children's own, which lack their last moments, and little else."""
    return own - 0.05 <= found < own + 0.4


def test_cpu_seconds_count_work_and_not_waiting():
    nothing, waited = timed(time.sleep, 0.2)
    total, worked = timed(burn_here)
    assert nothing is None
    assert waited < 0.1
    assert 0.3 <= worked < 0.6 < 0.3 + total


@pytest.mark.parametrize(
    "call",
    [burn, functools.partial(burn, deep=2), functools.partial(burn, end="killed")],
    ids=["a child", "children of children", "a child that is killed"],
)
def test_cpu_seconds_hold_those_of_children(call: Callable[[], float]):
    own, found = timed(call)
    assert own > 0.29
    assert held(found, own), (own, found)


def test_so_do_those_of_a_fresh_process():
    own, found = timed(in_fresh_process, burn_here)
    assert found > own > 0.3


@linux
def test_a_child_that_still_runs_counts_once_and_for_the_call_in_which_it_worked():
    with contextlib.ExitStack() as stack:

        def start() -> float:
            how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            child = stack.enter_context(subprocess.Popen([sys.executable, "-c", BURN, "0", "waits", BURN], **how))
            return float(child.stdout.readline())

        own, found = timed(start)
        assert held(found, own), (own, found)
    assert timed(lambda: None)[1] < 0.05, "it has ended since, and was counted before"


@linux
def test_the_workers_of_an_open_pool_count():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(os.getpid).result()
        own, found = timed(lambda: pool.submit(burn_here).result())
        assert 0.3 <= found < own + 0.1, (own, found)
    assert children_seconds() > own


def two_arms(home: str) -> list[float]:
    """CPU seconds of an arm with a child, of one without, and of the first once more, in one process."""
    os.environ["LAB_HOME"] = home
    found = []
    for child in (True, False, True):
        table = pd.DataFrame({"own": [0.0]})
        arm = Experiment(lambda _: burn() and table if child else table, "testing/arm", 1, None).compute(Config())  # noqa: B023
        found.append(arm.cpu_seconds)
    return found


def test_each_arm_of_a_worker_counts_its_own_children(tmp_path):
    first, without, again = in_fresh_process(two_arms, str(tmp_path))
    assert without < 0.2 < 0.3 <= min(first, again)
    assert max(first, again) < 0.9


def test_what_a_failed_arm_spent_is_counted_too():
    def fail(cfg: Config) -> pd.DataFrame:
        raise ValueError(str(burn()))

    arm = Experiment(fail, "testing/arm", 1, None).compute(Config())
    assert held(arm.cpu_seconds, float(arm.error.removeprefix("ValueError: ")))
