"""The picture of the explorer: which blocks of three weight matrices a budget keeps."""

import inspect
from collections.abc import Mapping, Set

import numpy as np
import plotly.graph_objects as go

from lablib.viz.matrices import matrices_figure
from lablib.viz.style import BLUE, GRID

BLOCK = 8  # rows and columns of a cell
COLOURS = {"zmin": 0, "zmax": 1, "colorscale": [[0, GRID], [0.5, GRID], [0.5, BLUE], [1, BLUE]]}


def kept_figure(
    matrices: Mapping[str, tuple[Set[int], int]], sizes: Mapping[str, int], width: int, told: str
) -> go.Figure:
    """Blocks of 8 by 8 weights that are kept (blue); down what a layer computes, to the right the residual stream.

    By matrix: the rows that are kept, and how many columns. `sizes` has the rows of each, `width` all columns.
    """
    shown = {}
    for name, (rows, columns) in matrices.items():
        kept = np.zeros((sizes[name] // BLOCK, width // BLOCK))
        kept[sorted({row // BLOCK for row in rows}), : columns // BLOCK] = 1
        places = {"x": np.arange(kept.shape[1]) * BLOCK, "y": np.arange(kept.shape[0]) * BLOCK}
        shown[name] = COLOURS | places | {"z": kept, "xgap": 1, "ygap": 1, "hoverinfo": "skip"}
    caption = inspect.getdoc(kept_figure).partition("\n\n")[0]
    return matrices_figure(shown, x="channel", y="row", gap=0.12, told=told, caption=caption)
