"""The figure of `longcontext/finetuning`: recall near and far while a trained model goes on."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, add_seeds, missing, spell_length
from lablib.viz.style import BLUE, DASHES, GREEN, ORANGE, PURPLE, SYMBOLS, VERMILLION, dress

COLOURS = (VERMILLION, PURPLE, ORANGE, GREEN, BLUE)


def finetuning_figure(table: pd.DataFrame) -> go.Figure:
    """Exact recall at the shortest and at the longest probe by steps of the fine-tuning, a line a recipe."""
    if table.empty:
        return missing(NOTHING)
    lengths = [int(text) for text in str(table["probe_lengths"].iloc[0]).split()]
    ends = (lengths[0], lengths[-1])
    rows = table[table["phase"].isin(["before", "train"])].dropna(subset=["global_share"])
    titles = [f"exact recall at {spell_length(length)} tokens" for length in ends]
    figure = make_subplots(cols=2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.05)
    names = list(rows["recipe"].unique())
    for col, length in enumerate(ends, start=1):
        for i, name in enumerate(names):
            look = {"colour": COLOURS[i % 5], "dash": DASHES[i % 6], "symbol": SYMBOLS[i % 6], "legend": col == 1}
            mine = rows[rows["recipe"] == name].sort_values("step")
            add_seeds(figure, mine, "step", f"recall_{length}", name=name, **look, row=1, col=col)
        figure.update_xaxes(title="steps of fine-tuning", row=1, col=col)
    figure.update_yaxes(range=[-0.04, 1.06])
    kind = " and ".join(f"{store} runs" for store in sorted(rows["store"].unique()))
    questions = int(rows["probe_questions"].iloc[0])
    source = f"{kind}, {rows['seed'].nunique()} seeds a line, {questions} questions a point and seed"
    title = "Going on at a renewed rate, on rows that the window covers or not"
    figure = dress(figure, title=title, source=source, height=420 + 21 * len(names))
    return figure.update_layout(legend={"orientation": "v"}, margin={"b": 74 + 21 * len(names)})
