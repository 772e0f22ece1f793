"""Which elements each program of a kernel reads and writes: recorded in Triton's interpreter, drawn as a picture.

A *lane* is one place of the block that a program works on. A lane that a mask hides touches nothing.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go
from torch import Tensor

from lablib.viz.matrices import matrices_figure
from lablib.viz.style import AMBER, BLUE, CRIMSON, GRID

NOTHING, READ, WRITTEN, OUTSIDE = range(4)
PAINT = [GRID, BLUE, AMBER, CRIMSON]
AROUND = 2  # columns that stand for everything before a tensor, and for everything behind it
TOLD = "Blue: read. Amber: written. Grey: not touched. Red: outside"
WIDEST = 256  # elements in a row of the picture; larger tensors are drawn by their rows


class Access(NamedTuple):
    """Addresses that one program has touched with one instruction."""

    program: tuple[int, int, int]
    kind: int
    addresses: np.ndarray


@contextmanager
def recorded() -> Iterator[list[Access]]:
    """What kernels that run inside touch, in order. Only for kernels that are interpreted."""
    from triton.runtime.interpreter import interpreter_builder as builder

    seen: list[Access] = []
    load, store = builder.create_masked_load, builder.create_masked_store

    def note(kind: int, pointers: Any, mask: Any) -> None:
        where = np.broadcast_to(mask.data, pointers.data.shape)
        seen.append(Access(builder.grid_idx, kind, pointers.data[where].astype(np.int64).ravel()))

    def noted_load(pointers: Any, mask: Any, *rest: Any) -> Any:
        note(READ, pointers, mask)
        return load(pointers, mask, *rest)

    def noted_store(pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        note(WRITTEN, pointers, mask)
        return store(pointers, value, mask, *rest)

    builder.create_masked_load, builder.create_masked_store = noted_load, noted_store
    try:
        yield seen
    finally:
        del builder.create_masked_load, builder.create_masked_store  # the class has them again


def touched(accesses: list[Access], tensor: Tensor, margin: int) -> np.ndarray:
    """(program, element): what each program did with each element of a dense tensor.

    The first and the last columns are OUTSIDE where a program touched the `margin` elements before or behind it. A
    tensor of more than WIDEST elements is drawn by its rows.
    """
    programs = sorted({access.program for access in accesses}, key=lambda index: index[::-1])
    count, size = tensor.numel(), tensor.element_size()
    group = 1 if count <= WIDEST else tensor.shape[-1]
    found = np.full((len(programs), -(-count // group) + 2 * AROUND), NOTHING)
    for access in accesses:
        places = (access.addresses - tensor.data_ptr()) // size
        own, row = places[(places >= 0) & (places < count)], programs.index(access.program)
        line = found[row]
        line[AROUND + own // group] = np.maximum(line[AROUND + own // group], access.kind)
        if ((places >= -margin) & (places < 0)).any():
            line[:AROUND] = OUTSIDE
        if ((places >= count) & (places < count + margin)).any():
            line[-AROUND:] = OUTSIDE
    return found


def lanes_figure(accesses: list[Access], tensors: Mapping[str, Tensor], margin: int = 0, told: str = "") -> go.Figure:
    """What each program (row) did with each element (column) of each tensor: blue read, amber written, red outside."""
    shown, paint = {}, [[edge, PAINT[i]] for i in range(4) for edge in (i / 4, (i + 1) / 4)]
    for name, tensor in tensors.items():
        cells = touched(accesses, tensor, margin)
        gaps = {"xgap": float(cells.shape[1] < 32), "ygap": 1, "x0": -AROUND}
        colours = {"zmin": -0.5, "zmax": 3.5, "colorscale": paint}
        shown[name] = {"z": cells, "hovertemplate": "program %{y}, element %{x}<extra></extra>", **gaps, **colours}
    figure = matrices_figure(
        shown, x="element", y="program", gap=0.06, told=told or TOLD,
        caption="What each program of a kernel did with each element of its tensors; of a large tensor with each row.",
    )  # fmt: skip
    return figure.update_yaxes(dtick=1 if len(cells) <= 8 else None)
