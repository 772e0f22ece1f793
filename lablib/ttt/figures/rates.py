"""The figure of `ttt/rates`: the same learning rates for every peer."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.summaries import as_trained, over_positions
from lablib.viz.marks import NOTHING, missing, runs_and_seeds
from lablib.viz.style import dress, look


def rates_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss by learning rate, a line a peer."""
    if table.empty:
        return missing(NOTHING)
    losses, figure = over_positions(as_trained(table)), go.Figure()
    losses = losses.assign(rate=losses["arm"].map(table.groupby("arm")["train.optim.lr"].first()))
    names = list(table["name"].unique())
    for i, name in enumerate(names):
        mean = losses[losses["name"] == name].groupby("rate")["loss"].mean()
        colour, dash, symbol = look(i).values()
        figure.add_scatter(
            x=mean.index, y=mean, mode="lines+markers", name=name, line={"color": colour, "dash": dash},
            marker={"symbol": symbol, "size": 9},
        )  # fmt: skip
    figure.add_hline(y=losses["best"].mean(), line={"color": "black", "dash": "dot", "width": 1.5})
    rates = sorted(losses["rate"].unique())
    figure.update_xaxes(type="log", tickvals=rates, ticktext=[f"{rate:g}" for rate in rates], title="learning rate")
    figure.update_yaxes(title="mean loss (nats)")
    title, steps = "The same learning rates for every peer, short runs", int(table["train.steps"].max())
    source = f"{runs_and_seeds(table)}, {steps} steps; dotted: best possible"
    return dress(figure, title=title, source=source, height=430, legend_rows=len(names))
