"""The figure of `longcontext/finetuning`: recall near and far while a trained model goes on."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, add_seeds, missing, runs_and_seeds, spell_length
from lablib.viz.style import dress, look


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
            mine = rows[rows["recipe"] == name].sort_values("step")
            look_here = look(i) | {"legend": col == 1, "row": 1, "col": col}
            add_seeds(figure, mine, "step", f"recall_{length}", name=name, **look_here)
        figure.update_xaxes(title="steps of fine-tuning", row=1, col=col)
    figure.update_yaxes(range=[-0.04, 1.06])
    asked = f"{int(rows['probe_questions'].iloc[0])} questions a point and seed"
    source = f"{runs_and_seeds(rows, 'line', 'recipe')}, {asked}"
    title = "Going on at a renewed rate, on rows that the window covers or not"
    return dress(figure, title=title, source=source, height=420, legend_rows=len(names))
