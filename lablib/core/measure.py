"""What a comparison cost: parameters, FLOPs, bytes of state, CPU seconds, peak memory."""

import contextlib
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def num_parameters(model: nn.Module) -> int:
    """Scalars that are trained; a tied weight counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products in one call (a multiply-add is two), by torch's counter."""
    with FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops()


def num_bytes(*tensors: Tensor) -> int:
    """Bytes that tensors hold, such as the chunk store of a stream."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@contextlib.contextmanager
def cpu_seconds() -> Iterator[list[float]]:
    """A list that holds, after the block, the CPU seconds this process spent in it (not wall time)."""
    spent: list[float] = []
    start = time.process_time()
    try:
        yield spent
    finally:
        spent.append(time.process_time() - start)


def peak_memory() -> int:
    """The most bytes this process has held in memory since it began."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process, so that nothing run before weighs on its time or memory."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
