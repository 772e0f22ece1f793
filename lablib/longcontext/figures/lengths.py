"""The figure of `longcontext/lengths`: four ways to spend the same tokens, at several learning rates."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.cures import asked_length, outcomes
from lablib.viz.marks import NOTHING, add_bars, add_seeds, missing, questions_asked, runs_and_seeds, spell_length
from lablib.viz.style import SYMBOLS, dress, look, ramp


def lengths_figure(table: pd.DataFrame, length: int = 65_536) -> go.Figure:
    """Left: recall of a single needle by training step, at one rate. Right: recall at a length, by rate.

    Dotted: a guess among the needles.
    """
    if table.empty:
        return missing(NOTHING)
    length = asked_length(table, length)
    probes = [int(text) for text in str(table["probe_lengths"].iloc[0]).split()]
    probe, rates = probes[min(1, len(probes) - 1)], sorted(table["curriculum.optim.lr"].unique())
    rate = rates[len(rates) // 2]
    needles = int(table["needles"].iloc[0])
    titles = (
        f"one needle at {spell_length(probe)} tokens, by step, rate {rate:g}",
        f"one of {needles} needles at {spell_length(length)} tokens, by rate",
    )
    figure = make_subplots(cols=2, subplot_titles=titles, horizontal_spacing=0.28, column_widths=[0.5, 0.5])
    names = list(table["recipe"].unique())
    middle = table[(table["phase"] == "train") & (table["curriculum.optim.lr"] == rate)]
    middle = middle.dropna(subset=[f"recall_{probe}"]).sort_values("step")
    for i, name in enumerate(names):
        mine = middle[middle["recipe"] == name]
        add_seeds(figure, mine, "step", f"recall_{probe}", name=name, **look(i), row=1, col=1)
    figure.update_traces(offsetgroup="lines", row=1, col=1)  # bars group marks, but lines stay where they are
    arms = outcomes(table, length)
    for rate, colour, symbol in zip(rates, ramp(max(len(rates), 2)), SYMBOLS, strict=False):
        mine = arms[arms["curriculum.optim.lr"] == rate]
        bars = {"name": f"rate {rate:g}", "colour": colour, "symbol": symbol}
        add_bars(figure, mine, "recipe", "exact", order=names, **bars, row=1, col=2)
    figure.add_vline(x=1 / needles, line={"dash": "dot", "color": "#555", "width": 1}, row=1, col=2)
    figure.update_xaxes(title="training step", row=1, col=1)
    figure.update_xaxes(range=[-0.04, 1.06], tickvals=[0, 0.5, 1], row=1, col=2)
    figure.update_yaxes(range=[-0.04, 1.06], row=1, col=1)
    source = f"{runs_and_seeds(table)}, {questions_asked(table)} (right), equal training tokens"
    title = "Four ways to spend the same training tokens"
    return dress(figure, title=title, source=source, height=440, legend_rows=len(names) + len(rates))
