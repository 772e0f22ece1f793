"""Seconds of a call, on a CPU or a GPU, and what the machine could do at best in the same process."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from lablib.core.measure import timed

WARM_UP = {"cpu": 2, "cuda": 20}  # calls that do not count: a GPU has clocks to raise, kernels to compile
AHEAD = 2_000_000  # cycles that a GPU sleeps before a timed call, so that its launches are queued by then
CACHE = 1 << 28  # bytes that are overwritten between two timed calls on a GPU: more than any of its caches


class Seconds(NamedTuple):
    """Median and the 20th and 80th percentile over repetitions."""

    median: float
    low: float
    high: float


class Ceilings(NamedTuple):
    """FLOPs a second of a large matrix product, and bytes a second of a large copy (read and written)."""

    flops: float
    bytes: float


def seconds(call: Callable[[], object], device: torch.device, repeats: int) -> Seconds:
    """Of `repeats` calls after a few that do not count: CPU seconds of the process, or time between a GPU's events."""
    for _ in range(WARM_UP[device.type]):
        call()
    spent = _on_gpu(call, repeats) if device.type == "cuda" else [timed(call)[1] for _ in range(repeats)]
    low, median, high = np.quantile(spent, (0.2, 0.5, 0.8)).tolist()
    return Seconds(median, low, high)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """CPU seconds are summed over threads: with one they are the time that a call takes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _on_gpu(call: Callable[[], object], repeats: int) -> list[float]:
    """Between two events around each call, with the caches overwritten before it."""
    cache = torch.empty(CACHE, dtype=torch.int8, device="cuda")
    pairs = []
    for _ in range(repeats):
        cache.zero_()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda._sleep(AHEAD)
        begin.record()
        call()
        end.record()
        pairs.append((begin, end))
    torch.cuda.synchronize()
    return [begin.elapsed_time(end) / 1e3 for begin, end in pairs]


@functools.cache
def ceilings(device: torch.device, dtype: torch.dtype) -> Ceilings:
    """Measured, once a process: a square product of 8192 (1024 on a CPU), and a copy of 1 GiB (256 MiB)."""
    gpu = device.type == "cuda"
    side, size = (8192, 1 << 30) if gpu else (1024, 1 << 28)
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = seconds(lambda: a @ b, device, 10)
    source = torch.ones(size, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    copy = seconds(lambda: target.copy_(source), device, 10)
    return Ceilings(2 * side**3 / product.median, 2 * size / copy.median)
