"""The figure of `longcontext/aftermath`: what a long second phase does to what the warm-up taught."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.cures import after_joint
from lablib.viz.marks import NOTHING, add_seeds, missing, spell_length
from lablib.viz.style import BLUE, DASHES, GREEN, GREY, ORANGE, PURPLE, SKY, SYMBOLS, VERMILLION, dress

COLOURS = (GREEN, ORANGE, BLUE, VERMILLION, PURPLE, SKY, GREY)


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
            look = {"colour": COLOURS[i % 7], "dash": DASHES[i % 6], "symbol": SYMBOLS[i % 6], "legend": col == 1}
            add_seeds(figure, rows[rows["recipe"] == name], "since", measure, name=name, **look, row=1, col=col)
        figure.update_xaxes(title=axis, row=1, col=col)
    figure.update_yaxes(range=[-0.04, 1.06], row=1, col=1)
    kind = " and ".join(f"{store} runs" for store in sorted(rows["store"].unique()))
    seeds = rows.groupby("recipe")["seed"].nunique()
    span = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    source = f"{kind}, {span} seeds a line, {int(rows['probe_questions'].iloc[0])} questions a point and seed"
    figure = dress(figure, title=title, source=source, height=440 + 21 * len(names))
    return figure.update_layout(legend={"orientation": "v"}, margin={"b": 74 + 21 * len(names)})
