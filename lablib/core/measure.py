"""What a comparison cost: parameters, FLOPs, bytes of state, CPU seconds, peak memory."""

import contextlib
import resource
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from torch import nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from lablib.core.cpu_time import timed as timed
from lablib.core.flops import formulas
from lablib.core.pool import fresh_processes

CONTROL_GROUPS = Path("/sys/fs/cgroup")
# the limit and the use of memory in the two versions of control groups
_LIMITS = {"memory.max": "memory.current", "memory/memory.limit_in_bytes": "memory/memory.usage_in_bytes"}


def num_parameters(model: nn.Module) -> int:
    """Scalars that are trained; a tied weight counts once."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def count_flops(call: Callable[[], Any]) -> int:
    """Floating-point operations of the matrix products, convolutions and triangular systems in one call.

    A multiply-add is two. What an operation needs as it is written counts: attention two products forward and four
    backward, whether a fused kernel computes it or not; what a mask hides or a padding adds is not taken off; what a
    kernel computes again is not added. A convolution takes 2 * (places) * (weights) forward and twice that backward; a
    system of n equations n^2 a right-hand side, and backward as much again and a product. Elementwise work counts as
    nothing. Raises ValueError for an operation whose count is not known, such as a Fourier transform.
    """
    with FlopCounterMode(display=False, custom_mapping=formulas()) as counter:
        call()
    return counter.get_total_flops()


class _Kept:
    """What autograd keeps in place of a tensor; it lives as long as the graph does."""

    def __init__(self, tensor: Any):
        self.tensor = tensor


def kept_bytes(call: Callable[[], Any], *besides: Any) -> int:
    """Bytes that autograd keeps from a forward pass for the backward pass: each storage once.

    The storages of the tensors `besides`, such as weights and inputs, do not count; nor does what an operator keeps
    for gradients that it takes itself.
    """
    known, kept = {tensor.untyped_storage().data_ptr() for tensor in besides}, weakref.WeakSet()

    def keep(tensor: Any) -> _Kept:
        kept.add(found := _Kept(tensor))
        return found

    with saved_tensors_hooks(keep, lambda found: found.tensor):
        alive = call()
    storages = [each.tensor.untyped_storage() for each in kept]
    del alive
    return sum({each.data_ptr(): each.nbytes() for each in storages if each.data_ptr() not in known}.values())


def peak_memory() -> int:
    """The most bytes this process has held in memory since it began."""
    if (status := Path("/proc/self/status")).exists():  # Linux, where ru_maxrss counts the parent's memory too
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak_memory() -> bool:
    """Let `peak_memory` count from now on; whether this system allows it (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def available_memory() -> int:
    """Bytes that a process can still take: of the machine, or of its control group where that allows less (Linux)."""
    limits = [psutil.virtual_memory().available]
    for limit, used in _LIMITS.items():
        with contextlib.suppress(OSError, ValueError):  # not there, or `max`: no limit
            most, now = (int((CONTROL_GROUPS / file).read_text()) for file in (limit, used))
            stat = (CONTROL_GROUPS / used).with_name("memory.stat").read_text()
            held = dict(line.split() for line in stat.splitlines())
            limits.append(most - now + int(held.get("total_inactive_file", held.get("inactive_file", 0))))
    return max(0, min(limits))


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of a module in a new process, so that nothing run before weighs on its time or memory."""
    with fresh_processes(1) as pool:
        return pool.submit(function, *arguments).result()
