"""What runs a reader's kernel in Triton's interpreter, looks at it from outside and draws what it touched.

Every tensor lies inside a larger one (`Guarded`): what a kernel reads or writes beyond it is seen.
"""

import functools
import inspect
from typing import Any

import torch
from torch import Generator, Tensor

from lablib.core.exercise import Mistake, close, compare
from lablib.speed import lanes
from lablib.viz.widgets import show

MARGIN = 256  # elements before and behind each tensor
KEPT = 1234.5  # in the margins of an output


class Guarded:
    """A tensor between margins: an input between NaN, an output that is NaN between a number that must stay."""

    def __init__(self, values: Tensor | None = None, shape: tuple[int, ...] = ()):
        shape = torch.Size(shape) if values is None else values.shape
        self.buffer = torch.full((shape.numel() + 2 * MARGIN,), torch.nan)
        self.inner = self.buffer[MARGIN:-MARGIN].view(shape)
        if values is not None:
            self.inner.copy_(values)
        else:
            self.buffer[:MARGIN] = self.buffer[-MARGIN:] = KEPT

    @property
    def untouched_outside(self) -> bool:
        """Whether nothing was written into the margins."""
        return bool((self.buffer[:MARGIN] == KEPT).all() and (self.buffer[-MARGIN:] == KEPT).all())


class Touched:
    """What a run has touched: by the name of a tensor, what each program did with its elements."""

    def __init__(self, seen: list[lanes.Access], tensors: dict[str, Tensor]):
        self.seen, self.tensors = seen, tensors

    def draw(self) -> None:
        """The picture of the lanes."""
        show(lanes.lanes_figure(self.seen, self.tensors, MARGIN))

    def outside(self) -> list[str]:
        """The tensors beyond whose ends something was read or written."""
        found = {name: lanes.touched(self.seen, tensor, MARGIN) for name, tensor in self.tensors.items()}
        return [name for name, cells in found.items() if (cells == lanes.OUTSIDE).any()]

    def rows_read(self, name: str) -> list[set[int]]:
        """For each program, the rows of a matrix that it has read."""
        tensor, programs = self.tensors[name], sorted({access.program for access in self.seen})
        rows: list[set[int]] = [set() for _ in programs]
        for access in self.seen:
            places = (access.addresses - tensor.data_ptr()) // tensor.element_size()
            own = places[(places >= 0) & (places < tensor.numel())]
            if access.kind == lanes.READ:
                rows[programs.index(access.program)] |= set((own // tensor.shape[-1]).tolist())
        return rows


def check_kernel(
    kernel: Any, grid: tuple[int, ...], inputs: dict[str, Tensor], right: Tensor, guesses: dict[str, Tensor],
    *numbers: float, draw: bool = False, tolerance: float = 1e-4, **constants: int,
) -> Touched:  # fmt: skip
    """Run `kernel(*inputs, out, *numbers, **constants)`, and draw what it touched if asked.

    NotImplementedError for a stub, Mistake for a wrong one: with the hint whose guess fits.
    """
    if "..." in inspect.getsource(getattr(kernel, "fn", kernel)).split('"""')[-1]:
        raise NotImplementedError
    if not hasattr(kernel, "fn"):
        raise Mistake("That is a plain function. A kernel has `@triton.jit` above it.")
    given, out = {name: Guarded(x) for name, x in inputs.items()}, Guarded(shape=right.shape)
    tensors = {name: each.inner for name, each in given.items()} | {"out": out.inner}
    with lanes.recorded() as seen:
        kernel[grid](*tensors.values(), *numbers, **constants)
    touched = Touched(seen, tensors)
    if draw and seen:
        touched.draw()
    missing, found = int(out.inner.isnan().sum()), out.inner
    if not out.untouched_outside:
        raise Mistake("It writes outside of its output: the last block is not full. Give `tl.store` a mask.")
    if missing == found.numel():
        raise Mistake("Nothing was written into the output. `tl.store(pointer + offsets, values, mask=...)` writes.")
    first, expected = ([round(float(x), 3) for x in values.flatten()[:4]] for values in (found, right))
    said = f"The first numbers are {first}; expected {expected}."
    if missing:
        said = (
            f"{missing} of {found.numel()} numbers are NaN: they were not written, or computed from what lies beyond "
            "the input. Does each load have a mask and a value for the rest (`other`)?"
        )
    compare(found, right, guesses, said, functools.partial(close, tolerance=tolerance))
    if beyond := touched.outside():
        raise Mistake(
            f"The numbers are right, but it also reads beyond {beyond[0]} (red in the picture). A GPU may not survive: "
            "mask the load."
        )
    return touched


def randn(*shape: int, seed: int = 0) -> Tensor:
    """Numbers that are the same each time."""
    return torch.randn(shape, generator=Generator().manual_seed(seed))
