"""The figure of `longcontext/aftermath`: what a long second phase does to what the warm-up taught."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.cures import after_joint
from lablib.viz.marks import NOTHING, add_seeds, missing, runs_and_seeds, spell_length
from lablib.viz.style import dress, look


def aftermath_figure(table: pd.DataFrame) -> go.Figure:
    """Recall at the longest probe, and the share of HSA in the attention, by steps since the windows were widened."""
    if table.empty:
        return missing(NOTHING)
    return probes_figure(after_joint(table), "Does a long second phase undo the warm-up?", "steps since the joint")


def probes_figure(rows: pd.DataFrame, title: str, axis: str) -> go.Figure:
    """Two panels over `since`: recall at the longest probe, and the share of HSA; a line a recipe."""
    far = int(str(rows["probe_lengths"].iloc[0]).split()[-1])
    panels = {
        f"recall_{far}": f"exact recall at {spell_length(far)} tokens",
        "global_share": "share of HSA in the attention",
    }
    figure = make_subplots(cols=len(panels), subplot_titles=list(panels.values()), horizontal_spacing=0.1)
    names = list(rows["recipe"].unique())
    for col, measure in enumerate(panels, start=1):
        for i, name in enumerate(names):
            mine = rows[rows["recipe"] == name]
            add_seeds(figure, mine, "since", measure, name=name, **look(i), legend=col == 1, row=1, col=col)
        figure.update_xaxes(title=axis, row=1, col=col)
    figure.update_yaxes(range=[-0.04, 1.06], row=1, col=1)
    asked = f"{int(rows['probe_questions'].iloc[0])} questions a point and seed"
    source = f"{runs_and_seeds(rows, 'line', 'recipe')}, {asked}"
    return dress(figure, title=title, source=source, height=440, legend_rows=len(names))
