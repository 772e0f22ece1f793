"""Lines by position in a text, which most figures of notebook 03 share."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.summaries import readings
from lablib.viz.marks import NOTHING, add_seeds, missing, runs_and_seeds
from lablib.viz.style import dress, look


def stretches_figure(table: pd.DataFrame, *, title: str, trained: int | None = None) -> go.Figure:
    """Loss by stretch of positions that double, a line a way to read; learners are read with their inner loop.

    Where the best possible loss is known, what a reader has above it, on a log scale: near the best, small differences
    are the large ones.
    """
    if table.empty:
        return missing(NOTHING)
    rows, figure = readings(table), go.Figure()
    rows = rows[~rows["learns"].astype(bool) | (rows["mode"] == "on")]
    rows = rows.assign(middle=np.sqrt(rows["start"].clip(lower=4) * rows["stop"]), above=rows["loss"] - rows["best"])
    known = bool(rows["best"].notna().all())
    names = sorted(rows["series"].unique(), key=lambda name: name != "TTT-E2E")  # the others in the order of the table
    for i, name in enumerate(names):
        add_seeds(
            figure, rows[rows["series"] == name], "middle", "above" if known else "loss", name=name, **look(i)
        )  # fmt: skip
    edges = sorted(set(rows["start"]) | set(rows["stop"]))
    figure.update_xaxes(type="log", tickvals=[edge for edge in edges if edge], title="position in the text (log scale)")
    if known:
        figure.update_yaxes(type="log", dtick="D2", title="nats above the best possible loss (log scale)")
    else:
        figure.update_yaxes(title="loss of the next token (nats)")
    if trained:
        figure.add_vline(x=trained, line={"dash": "dot", "color": "#555", "width": 1})
        figure.add_annotation(
            x=np.log10(trained),
            y=1,
            yref="paper",
            text="trained up to here",
            showarrow=False,
            xanchor="left",
            yanchor="bottom",
        )
    source = f"{runs_and_seeds(table, 'line', 'name')}, {int(table['texts'].iloc[0])} texts a seed"
    return dress(figure, title=title, source=source, height=470, legend_rows=len(names))


def positions_figure(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Loss at every position, the mean over seeds, a line a way to read; dotted black the best possible."""
    if table.empty:
        return missing(NOTHING)
    rows, figure = readings(table), go.Figure()
    names = list(rows["series"].unique())
    for i, name in enumerate(names):
        mean = rows[rows["series"] == name].groupby("start")["loss"].mean()
        colour, dash = look(i)["colour"], look(i)["dash"]
        figure.add_scatter(
            x=mean.index + 1, y=mean, mode="lines", name=name, line={"color": colour, "dash": dash, "width": 2.5}
        )
    add_best(figure, rows.assign(place=rows["start"] + 1), "place")
    figure.update_xaxes(title="position in the text")
    figure.update_yaxes(title="loss of the next token (nats)")
    source = f"{runs_and_seeds(table, 'line', 'name')}, {int(table['texts'].iloc[0])} texts a seed"
    return dress(figure, title=title, source=source, height=470, legend_rows=len(names) + 1)


def add_best_of(figure: go.Figure, losses: pd.DataFrame, colour: str) -> None:
    """For bars: the mean of the best possible loss over what the bars are of."""
    figure.add_vline(x=losses["best"].mean(), line={"color": colour, "dash": "dot", "width": 1.5})


def add_best(figure: go.Figure, rows: pd.DataFrame, x: str) -> None:
    """The best possible loss, where the language is known."""
    best = rows.groupby(x)["best"].mean().dropna()
    if len(best):
        line = {"color": "black", "dash": "dot", "width": 1.5}
        figure.add_scatter(x=best.index, y=best, mode="lines", name="best possible (Bayes)", line=line)
