"""The figure of `longcontext/balance`: retrieval against reasoning, by how the mixture shares them out."""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.cures import outcomes
from lablib.viz.marks import NOTHING, add_bars, missing, spell_length
from lablib.viz.style import BLUE, VERMILLION, dress


def balance_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """Exact recall of needles and of chains at a length, two bars a recipe and a dot a seed."""
    if table.empty:
        return missing(NOTHING)
    tested = table.loc[table["phase"] == "test", "length"]
    length = length if (tested == length).any() else int(tested.max())
    arms, figure = outcomes(table, length), go.Figure()
    names = list(arms["recipe"].unique())
    measures = {"exact": ("retrieval: one look-up", BLUE, "circle"),
                "exact_reasoning": ("reasoning: two look-ups", VERMILLION, "square")}  # fmt: skip
    for measure, (name, colour, symbol) in measures.items():
        add_bars(figure, arms, "recipe", measure, order=names, name=name, colour=colour, symbol=symbol)
    figure.update_xaxes(range=[-0.04, 1.06], title=f"exact recall at {spell_length(length)} tokens")
    kind = " and ".join(f"{store} runs" for store in sorted(table["store"].unique()))
    questions = int(table["haystacks"].iloc[0] * table["questions"].iloc[0])
    source = f"{kind}, {arms['seed'].nunique()} seeds a recipe, {questions} questions a seed"
    return dress(figure, title="Retrieval and reasoning in one mixture", source=source, height=190 + 60 * len(names))
