"""The figure of `ttt/ablations`: what a change of the inner loop adds to the mean loss, a bar a change."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.summaries import as_trained, over_positions
from lablib.viz.marks import NOTHING, add_bars, missing, runs_and_seeds
from lablib.viz.style import BLUE, dress

BASE = "as it is"


def ablations_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss less that of the unchanged inner loop with the same seed, with a dot for every seed."""
    if table.empty or BASE not in set(table["name"]):
        return missing(NOTHING)
    losses, figure = over_positions(as_trained(table)), go.Figure()
    base = losses[losses["name"] == BASE].set_index("seed")["loss"]
    losses = losses.assign(more=losses["loss"] - losses["seed"].map(base))
    names = [name for name in table["name"].unique() if name != BASE] or [BASE]
    rows = losses[losses["name"].isin(names)]
    add_bars(figure, rows, "name", "more", order=names, name="change", colour=BLUE)
    figure.update_layout(showlegend=False)
    figure.add_vline(x=0, line={"color": "#555", "width": 1})
    figure.update_xaxes(title="nats more than as it is (paired by seed; left is better)")
    source = f"{runs_and_seeds(table, 'bar', 'name')}, {int(table['texts'].iloc[0])} texts a seed"
    return dress(figure, title="One choice of the inner loop at a time", source=source, height=150 + 34 * len(names))
