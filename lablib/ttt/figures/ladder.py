"""The figure of `ttt/ladder`: mean losses of each step of the ladder, up to the training length and beyond it."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import add_best_of
from lablib.ttt.summaries import as_trained, over_positions
from lablib.viz.marks import NOTHING, add_bars, missing, runs_and_seeds
from lablib.viz.style import BLUE, VERMILLION, dress


def ladder_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss by step, read as trained, with a dot for every seed."""
    if table.empty:
        return missing(NOTHING)
    rows, trained, figure = as_trained(table), int(table["length"].max()), go.Figure()
    names = list(table["name"].unique())
    near, far = over_positions(rows, 0, trained), over_positions(rows, trained)
    add_bars(figure, near, "name", "loss", order=names, name=f"positions up to {trained}", colour=BLUE)
    beyond = {"name": f"from {trained} to {int(rows['stop'].max())}", "colour": VERMILLION, "symbol": "square"}
    add_bars(figure, far, "name", "loss", order=names, **beyond)
    for losses, colour in ((near, BLUE), (far, VERMILLION)):
        add_best_of(figure, losses, colour)
    both = pd.concat([near, far])
    figure.update_xaxes(range=[both["best"].min() - 0.05, both["loss"].max() + 0.05])
    figure.update_xaxes(title="loss of the next token (nats; the axis does not begin at 0)")
    source = (
        f"{runs_and_seeds(table, 'bar', 'name')}, {int(table['texts'].iloc[0])} texts a seed; dotted: best possible"
    )
    title = "From binding keys and values to the loss that counts"
    return dress(figure, title=title, source=source, height=150 + 44 * len(names))
