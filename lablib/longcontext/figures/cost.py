"""The figure of `longcontext/cost`."""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.summaries import PLAIN
from lablib.viz.marks import NOTHING, add_seeds, length_axis, missing, runs_and_seeds
from lablib.viz.style import DASHES, FAMILIES, GREEN, SYMBOLS, VERMILLION, dress


def cost_figure(table: pd.DataFrame) -> go.Figure:
    """CPU seconds by length for each kind of work, on logarithmic axes: a slope of 1 is linear, of 2 quadratic."""
    if table.empty:
        return missing(NOTHING)
    figure = go.Figure()
    looks = zip(table["work"].unique(), (VERMILLION, FAMILIES[PLAIN], GREEN), SYMBOLS, DASHES, strict=False)
    for work, colour, symbol, dash in looks:
        mine = table[table["work"] == work]
        add_seeds(figure, mine, "length", "work_seconds", name=work, colour=colour, symbol=symbol, dash=dash)
    length_axis(figure, table["length"], title="input length (tokens, log scale)")
    figure.update_yaxes(type="log", title="CPU seconds (log scale)", exponentformat="power")
    return dress(
        figure,
        title="What it costs to read a long input once",
        source=f"{runs_and_seeds(table)}, one thread",
        height=420,
    )
