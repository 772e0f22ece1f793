"""What a sweep on Dask costs beside its arms, from 1 worker to 64: arms that only sleep, four to a worker.

Run by hand, as it takes minutes: `python -m tests.app.growth [WORKERS...]`. All workers are processes of this machine.
"""

import sys
import tempfile
import time
from pathlib import Path

from lablib.core.cluster import OnCluster

from .dask_processes import Dask

EACH, SLEEP = 4, 2.0  # arms a worker, seconds an arm


def seconds(workers: int) -> tuple[float, float]:
    """Until the workers are known to run the same; from the first arm sent to the last one home."""
    with tempfile.TemporaryDirectory() as folder:
        dask = Dask(Path(folder), "growth")
        try:
            address = dask.scheduler()
            for _ in range(workers):
                dask.worker(address, DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT="60s")
            time.sleep(5 + workers)  # all are there by then
            begin = time.monotonic()
            executor = OnCluster(address)
            ready = time.monotonic()
            assert len(executor.client.scheduler_info(n_workers=-1)["workers"]) == workers
            for future in [executor.submit(time.sleep, 0.0) for _ in range(workers)]:
                future.result()
            sent = time.monotonic()
            for future in [executor.submit(time.sleep, SLEEP) for _ in range(EACH * workers)]:
                future.result()
            ended = time.monotonic()
            executor.shutdown()
            return ready - begin, ended - sent
        finally:
            dask.end()


def main() -> None:
    print("workers | ready (s) | sweep (s) | at best (s) | beyond that, a round of arms (ms)")
    for workers in map(int, sys.argv[1:] or (1, 2, 4, 8, 16, 32, 64)):
        ready, took = seconds(workers)
        best = EACH * SLEEP
        print(f"{workers} | {ready:.1f} | {took:.2f} | {best:g} | {1e3 * (took - best) / EACH:.0f}", flush=True)


if __name__ == "__main__":
    main()
