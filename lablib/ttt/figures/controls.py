"""The figure of `ttt/controls`: mean losses, a bar a control."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import add_best_of
from lablib.ttt.summaries import as_trained, over_positions, readings
from lablib.viz.marks import NOTHING, add_bars, missing, runs_and_seeds
from lablib.viz.style import BLUE, GREY, dress


def controls_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss by control, read as trained and without the inner loop, with a dot for every seed."""
    if table.empty:
        return missing(NOTHING)
    rows, figure, names = readings(table), go.Figure(), list(table["name"].unique())
    own, without = over_positions(as_trained(table)), over_positions(rows[rows["mode"] == "off"])
    add_bars(figure, own, "name", "loss", order=names, name="read as trained", colour=BLUE)
    other = {"name": "read without the inner loop", "colour": GREY, "symbol": "square"}
    add_bars(figure, without, "name", "loss", order=names, **other)
    add_best_of(figure, own, BLUE)
    high = max(own["loss"].max(), without["loss"].max())
    figure.update_xaxes(range=[own["best"].min() - 0.05, high + 0.05])
    figure.update_xaxes(title="mean loss of the next token (nats; the axis does not begin at 0)")
    source = (
        f"{runs_and_seeds(table, 'bar', 'name')}, {int(table['texts'].iloc[0])} texts a seed; dotted: best possible"
    )
    return dress(figure, title="What the inner loop needs", source=source, height=150 + 44 * len(names))
