"""The figure of `longcontext/steered`: curricula that follow the model."""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.cures import asked_length, outcomes
from lablib.viz.marks import NOTHING, add_bars, missing, questions_asked, runs_and_seeds, spell_length
from lablib.viz.style import BLUE, dress

Look = tuple[str, str, str]  # name, colour and symbol of a measure


def steered_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """Exact recall at a length, a bar a recipe and a dot a seed."""
    measures = {"exact": ("mean, and every seed", BLUE, "circle")}
    return recall_bars(table, length, measures, title="Fixed recipes, and some that follow the model")


def recall_bars(table: pd.DataFrame, length: int, measures: dict[str, Look], *, title: str) -> go.Figure:
    """Measures of recall at a length (the longest, where it was not asked), bars a recipe and a dot a seed."""
    if table.empty:
        return missing(NOTHING)
    length = asked_length(table, length)
    arms, figure = outcomes(table, length), go.Figure()
    names = list(arms["recipe"].unique())
    for measure, (name, colour, symbol) in measures.items():
        add_bars(figure, arms, "recipe", measure, order=names, name=name, colour=colour, symbol=symbol)
    figure.update_xaxes(range=[-0.04, 1.06], title=f"exact recall at {spell_length(length)} tokens")
    source = f"{runs_and_seeds(table, 'recipe', 'recipe')}, {questions_asked(table)}"
    return dress(figure, title=title, source=source, height=150 + (20 + 20 * len(measures)) * len(names))
