"""Bars of mean losses, a dot a seed."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.summaries import over_positions, readings
from lablib.viz.marks import NOTHING, add_bars, missing, runs_and_seeds
from lablib.viz.style import BLUE, GREY, dress


def loss_bars(table: pd.DataFrame, *, title: str, start: int = 0, stop: int | None = None) -> go.Figure:
    """Mean loss over positions by peer: read as trained, and learners also read without their inner loop."""
    if table.empty:
        return missing(NOTHING)
    rows = readings(table)
    losses, figure = over_positions(rows, start, stop), go.Figure()
    learners = set(rows.loc[rows["mode"] == "on", "name"])
    own = losses[(losses["mode"] == "on") | ((losses["mode"] == "off") & ~losses["name"].isin(learners))]
    names = list(table["name"].unique())
    add_bars(figure, own, "name", "loss", order=names, name="read as trained", colour=BLUE)
    without = losses[(losses["mode"] == "off") & losses["name"].isin(learners)]
    if len(without):
        look = {"name": "read without the inner loop", "colour": GREY, "symbol": "square"}
        add_bars(figure, without, "name", "loss", order=names, **look)
    low, high = losses["loss"].min(), losses["loss"].max()
    figure.update_xaxes(range=[low - 0.1 * (high - low) - 0.02, high + 0.1 * (high - low)])
    figure.update_xaxes(title=f"loss from position {start} on (nats; the axis does not begin at 0)")
    source = f"{runs_and_seeds(table, 'bar', 'name')}, {int(table['texts'].iloc[0])} texts a seed"
    return dress(figure, title=title, source=source, height=150 + 44 * len(names))
