"""The figure of `longcontext/reader`: how the readers learn."""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.recall import with_reader
from lablib.viz.marks import NOTHING, add_seeds, missing, runs_and_seeds
from lablib.viz.style import BLUE, DASHES, GREY, ORANGE, SYMBOLS, dress

COLOURS = (BLUE, ORANGE, GREY)


def reader_figure(table: pd.DataFrame) -> go.Figure:
    """Accuracy on training rows by step, a line a kind of reader; dotted where the rows become longer."""
    if table.empty:
        return missing(NOTHING)
    rows = with_reader(table)
    figure = go.Figure()
    for i, name in enumerate(sorted(rows["reader"].unique(), reverse=True)):
        look = {"name": name, "colour": COLOURS[i], "dash": DASHES[i], "symbol": SYMBOLS[i]}
        add_seeds(figure, rows[rows["reader"] == name], "step", "accuracy", **look)
    whole = rows[rows["reader"] == "whole training"]
    note = ""
    if not whole.empty:
        figure.add_vline(x=int(whole["train.steps"].iloc[0]), line={"dash": "dot", "color": "#555", "width": 1})
        first, then = int(whole["data.length"].iloc[0]), int(whole["more_length"].iloc[0])
        note = f" · dotted: from rows of {first} tokens to rows of {then}"
    figure.update_yaxes(range=[-0.04, 1.06], title="accuracy on training rows")
    figure.update_xaxes(title="training step")
    source = f"{runs_and_seeds(rows)}{note}"
    return dress(figure, title="Six needles a row: the readers learn to match keys", source=source, height=430)
