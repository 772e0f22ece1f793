"""The figure of `longcontext/steered`: curricula that follow the model."""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.cures import outcomes
from lablib.viz.marks import NOTHING, add_bars, missing, spell_length
from lablib.viz.style import BLUE, dress


def steered_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """Exact recall at a length, a bar a recipe and a dot a seed."""
    if table.empty:
        return missing(NOTHING)
    tested = table.loc[table["phase"] == "test", "length"]
    length = length if (tested == length).any() else int(tested.max())
    arms, figure = outcomes(table, length), go.Figure()
    names = list(arms["recipe"].unique())
    add_bars(figure, arms, "recipe", "exact", order=names, name="mean, and every seed", colour=BLUE)
    figure.update_xaxes(range=[-0.04, 1.06], title=f"exact recall at {spell_length(length)} tokens")
    kind = " and ".join(f"{store} runs" for store in sorted(table["store"].unique()))
    questions = int(table["haystacks"].iloc[0] * table["questions"].iloc[0])
    source = f"{kind}, {arms['seed'].nunique()} seeds a recipe, {questions} questions a seed"
    return dress(
        figure, title="Fixed recipes, and some that follow the model", source=source, height=150 + 40 * len(names)
    )
