"""Watches what torch allocates, so that laws on memory can be asserted without measuring the process."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Allocations(TorchDispatchMode):
    """Inside the block: `largest`, the elements of the largest tensor made, and `peak`, the most bytes alive at once.

    Storages that hold an input (given here) are not counted.
    """

    def __init__(self, *inputs: torch.Tensor):
        super().__init__()
        self._known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        self._alive: dict[int, weakref.ref] = {}
        self.largest = self.peak = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in self._known:
                self.largest = max(self.largest, tensor.numel())
                self._alive[id(tensor)] = weakref.ref(tensor)
        self.peak = max(self.peak, self._bytes_alive())
        return out

    def _bytes_alive(self) -> int:
        storages = {}
        for key, reference in list(self._alive.items()):
            tensor = reference()
            if tensor is None:
                del self._alive[key]
            else:
                storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return sum(storages.values())
