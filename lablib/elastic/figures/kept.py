"""The picture of the explorer: which blocks of three weight matrices a budget keeps."""

import inspect
from collections.abc import Mapping, Set

import numpy as np
import plotly.graph_objects as go

from lablib.viz.chart import dress
from lablib.viz.layout import domains
from lablib.viz.style import BLUE, GRID

BLOCK = 8  # rows and columns of a cell


def kept_figure(
    matrices: Mapping[str, tuple[Set[int], int]], sizes: Mapping[str, int], width: int, told: str
) -> go.Figure:
    """Blocks of 8 by 8 weights that are kept (blue); down what a layer computes, to the right the residual stream.

    By matrix: the rows that are kept, and how many columns. `sizes` has the rows of each, `width` all columns.
    """
    traces, layout = [], {}
    places = domains(len(matrices), len(matrices), None, 0.12, 260)
    for i, (name, (rows, columns)) in enumerate(matrices.items()):
        number = str(i + 1) if i else ""
        kept = np.zeros((sizes[name] // BLOCK, width // BLOCK))
        kept[sorted({row // BLOCK for row in rows}), : columns // BLOCK] = 1
        traces.append({
            "type": "heatmap", "z": kept, "zmin": 0, "zmax": 1, "xgap": 1, "ygap": 1, "showscale": False,
            "x": np.arange(kept.shape[1]) * BLOCK, "y": np.arange(kept.shape[0]) * BLOCK, "showlegend": False,
            "colorscale": [[0, GRID], [0.5, GRID], [0.5, BLUE], [1, BLUE]], "hoverinfo": "skip",
            "xaxis": f"x{number}", "yaxis": f"y{number}",
        })  # fmt: skip
        (left, right), (bottom, top) = places[i]
        layout[f"xaxis{number}"] = {"domain": [left, right], "anchor": f"y{number}", "title": {"text": "channel"}}
        layout[f"yaxis{number}"] = {"domain": [bottom, top], "anchor": f"x{number}", "autorange": "reversed"}
    layout["yaxis"]["title"] = {"text": "row"}
    told, _, source = told.partition("; ")
    return dress(
        traces, layout, height=260, lines=4, heads=list(matrices), columns=len(matrices), title=told, source=source,
        caption=inspect.getdoc(kept_figure).partition("\n\n")[0],
    )  # fmt: skip
