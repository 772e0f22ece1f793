"""The picture of the explorer: the change of a matrix that is wanted, and what an adapter has made of it."""

import inspect

import numpy as np
import plotly.graph_objects as go

from lablib.viz.chart import dress
from lablib.viz.layout import domains
from lablib.viz.style import AMBER, BLUE


def change_figure(wanted: np.ndarray, found: np.ndarray, told: str) -> go.Figure:
    """Changes of a matrix of 12 by 12 weights, blue below 0, amber above: the wanted one, B A, and what is missing."""
    parts = {"wanted": wanted, "B A, scaled": found, "missing": wanted - found}
    most, traces, layout = float(np.abs(wanted).max()), [], {}
    places = domains(3, 3, None, 0.08, 260)
    for i, (name, matrix) in enumerate(parts.items()):
        number = str(i + 1) if i else ""
        traces.append({
            "type": "heatmap", "z": matrix, "zmin": -most, "zmax": most, "showscale": False, "showlegend": False,
            "colorscale": [[0, BLUE], [0.5, "rgba(127,127,127,0.08)"], [1, AMBER]], "hoverinfo": "z",
            "xaxis": f"x{number}", "yaxis": f"y{number}", "name": name,
        })  # fmt: skip
        (left, right), (bottom, top) = places[i]
        layout[f"xaxis{number}"] = {"domain": [left, right], "anchor": f"y{number}", "title": {"text": "input"}}
        layout[f"yaxis{number}"] = {"domain": [bottom, top], "anchor": f"x{number}", "autorange": "reversed"}
    layout["yaxis"]["title"] = {"text": "output"}
    told, _, source = told.partition("; ")
    return dress(
        traces, layout, height=260, lines=4, heads=list(parts), columns=3, title=told, source=source,
        caption=inspect.getdoc(change_figure).partition("\n\n")[0],
    )  # fmt: skip
