"""What runs a reader's kernel in Triton's interpreter, looks at it from outside and draws what it touched.

Every tensor lies inside a larger one (`Guarded`): what a kernel reads or writes beyond it is seen.
"""

import ast
import functools
import inspect
import textwrap
from typing import Any

import numpy as np
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

    def written(self, name: str) -> np.ndarray:
        """(element): whether any program has written it."""
        tensor, found = self.tensors[name], np.zeros(self.tensors[name].numel(), dtype=bool)
        for access in self.seen:
            places = (access.addresses - tensor.data_ptr()) // tensor.element_size()
            if access.kind == lanes.WRITTEN:
                found[places[(places >= 0) & (places < len(found))]] = True
        return found

    def times_read(self, name: str) -> float:
        """How often the elements of a tensor were read, in the mean."""
        tensor = self.tensors[name]
        first, last = tensor.data_ptr(), tensor.data_ptr() + tensor.numel() * tensor.element_size()
        seen = [((each.addresses >= first) & (each.addresses < last)).sum() for each in self.seen]
        return sum(int(n) for n, each in zip(seen, self.seen, strict=True) if each.kind == lanes.READ) / tensor.numel()

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
    try:
        _check_run(out, right, guesses, touched, tolerance)
    except Mistake:
        if seen and not draw:
            touched.draw()
        raise
    _check_masked_loads(kernel)
    return touched


def _check_run(out: Guarded, right: Tensor, guesses: dict[str, Tensor], touched: Touched, tolerance: float) -> None:
    """Mistake for a wrong output, and for a right one where something beyond the tensors was read."""
    if not out.untouched_outside:
        raise Mistake("It writes outside of its output: the last block is not full. Give `tl.store` a mask.")
    if not touched.written("out").any():
        raise Mistake("Nothing was written into the output. `tl.store(pointer + offsets, values, mask=...)` writes.")
    near = functools.partial(close, tolerance=tolerance)
    compare(out.inner, right, guesses, _what_is_wrong(out.inner, right, touched), near)
    if beyond := touched.outside():
        raise Mistake(
            f"The numbers are right, but it also reads beyond {beyond[0]} (red in the picture). A GPU may not survive: "
            "mask the load."
        )


def _what_is_wrong(found: Tensor, right: Tensor, touched: Touched) -> str:
    """Numbers that are not written, or NaN, or the first one that is wrong."""
    written = touched.written("out")
    if left := int((~written).sum()):
        first = int(np.flatnonzero(~written)[0])
        return f"{left} of {len(written)} numbers are not written, the first of them is number {first}."
    if nan := int(found.isnan().sum()):
        said = f"{nan} of {len(written)} numbers are NaN. They come from what lies beyond the input (has each load a "
        return said + "mask, and a value for the rest, `other`?), or from -inf - (-inf), or from 0 / 0."
    return _first_wrong(found, right)


def _first_wrong(found: Tensor, right: Tensor) -> str:
    """Where the output is wrong first."""
    wrong = (found - right).abs() > 1e-4 * (1 + right.abs())
    place = wrong.nonzero()
    if not len(place):
        return "The numbers are not near enough."
    where = tuple(place[0].tolist())
    row = where if found.ndim == 1 else where[:1]
    numbers = [[round(float(x), 3) for x in values[row].flatten()[:4]] for values in (found, right)]
    name = "number" if found.ndim == 1 else "row"
    return f"{name.capitalize()} {row[0]} is the first that is wrong: {numbers[0]}, expected {numbers[1]}."


def _check_masked_loads(kernel: Any) -> None:
    """Mistake for a masked load without `other`: on a GPU the hidden lanes hold anything."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(kernel, "fn", kernel))))
    loads = [call for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call.func) == "tl.load"]
    for load in loads:
        words = {word.arg for word in load.keywords}
        if ("mask" in words or len(load.args) > 1) and "other" not in words and len(load.args) < 3:
            raise Mistake(
                "The numbers are right, but a masked load has no `other`: on a GPU its hidden lanes hold anything."
            )


def randn(*shape: int, seed: int = 0) -> Tensor:
    """Numbers that are the same each time."""
    return torch.randn(shape, generator=Generator().manual_seed(seed))
