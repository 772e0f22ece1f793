"""The figure of `longcontext/ingredients`: recall by length, a line a recipe."""

import pandas as pd
import plotly.graph_objects as go

from lablib.viz.marks import NOTHING, add_seeds, length_axis, missing, questions_asked, runs_and_seeds
from lablib.viz.style import dress, look


def ingredients_figure(table: pd.DataFrame) -> go.Figure:
    """Exact recall by length, a line a recipe and top-k that it was asked with."""
    return recall_figure(table, title="One ingredient of the training at a time")


def recall_figure(table: pd.DataFrame, *, title: str) -> go.Figure:
    """Exact recall by length, a line a recipe; the top-k is named where one recipe was asked with several."""
    rows = table[table["phase"] == "test"] if not table.empty else table
    if rows.empty:
        return missing(NOTHING)
    several = rows.groupby("recipe")["asked_top_k"].transform("nunique") > 1
    asked = ", asked with top-k " + rows["asked_top_k"].astype(int).astype(str)
    rows = rows.assign(line=rows["recipe"] + asked.where(several, ""))
    figure, names = go.Figure(), list(rows["line"].unique())
    for i, name in enumerate(names):
        add_seeds(figure, rows[rows["line"] == name], "length", "exact", name=name, **look(i))
    length_axis(figure, rows["length"], title="input length (tokens, log scale)")
    figure.update_yaxes(range=[-0.04, 1.06], title="exact recall")
    source = f"{runs_and_seeds(rows, 'line', 'line')}, {questions_asked(rows)}"
    return dress(figure, title=title, source=source, height=420, legend_rows=len(names))
