"""The figure of `longcontext/ingredients`: recall by length, a line a recipe."""

import pandas as pd
import plotly.graph_objects as go

from lablib.viz.marks import NOTHING, add_seeds, length_axis, missing
from lablib.viz.style import BLUE, DASHES, GREEN, GREY, ORANGE, PURPLE, SKY, SYMBOLS, VERMILLION, dress

COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY)


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
        look = {"colour": COLOURS[i % 7], "dash": DASHES[i % 6], "symbol": SYMBOLS[i % 6]}
        add_seeds(figure, rows[rows["line"] == name], "length", "exact", name=name, **look)
    length_axis(figure, rows["length"], title="input length (tokens, log scale)")
    figure.update_yaxes(range=[-0.04, 1.06], title="exact recall")
    kind = " and ".join(f"{store} runs" for store in sorted(rows["store"].unique()))
    questions = int(rows["haystacks"].iloc[0] * rows["questions"].iloc[0])
    source = f"{kind}, {rows['seed'].nunique()} seeds a line, {questions} questions a seed"
    figure = dress(figure, title=title, source=source, height=420 + 21 * len(names))
    return figure.update_layout(legend={"orientation": "v"}, margin={"b": 74 + 21 * len(names)})
