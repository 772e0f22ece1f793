"""The picture of the explorer: the change of a matrix that is wanted, and what an adapter has made of it."""

import inspect

import numpy as np
import plotly.graph_objects as go

from lablib.viz.matrices import matrices_figure
from lablib.viz.style import AMBER, BLUE


def change_figure(wanted: np.ndarray, found: np.ndarray, told: str) -> go.Figure:
    """Changes of a matrix of 12 by 12 weights, blue below 0, amber above: the wanted one, B A, and what is missing."""
    most = float(np.abs(wanted).max())
    colours = {"zmin": -most, "zmax": most, "colorscale": [[0, BLUE], [0.5, "rgba(127,127,127,0.08)"], [1, AMBER]]}
    parts = {"wanted": wanted, "B A, scaled": found, "missing": wanted - found}
    shown = {name: colours | {"z": matrix, "hoverinfo": "z"} for name, matrix in parts.items()}
    return matrices_figure(shown, x="input", y="output", gap=0.08, told=told, caption=inspect.getdoc(change_figure))
