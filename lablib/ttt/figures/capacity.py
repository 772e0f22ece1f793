"""The figure of `ttt/capacity`: how many facts fit."""

import pandas as pd
import plotly.graph_objects as go

from lablib.viz.marks import NOTHING, add_seeds, missing, runs_and_seeds
from lablib.viz.style import dress, look


def capacity_figure(table: pd.DataFrame) -> go.Figure:
    """Share of right answers by number of facts in a text, a line a number of fast weights."""
    if table.empty:
        return missing(NOTHING)
    rows, figure = table[table["phase"] == "recall"], go.Figure()
    for i, number in enumerate(sorted(rows["fast_weights"].unique())):
        mine = rows[rows["fast_weights"] == number]
        add_seeds(figure, mine, "facts", "exact", name=f"{int(number):,} fast weights", **look(i))
    figure.update_xaxes(type="log", tickvals=sorted(rows["facts"].unique()), title="facts in a text (log scale)")
    figure.update_yaxes(range=[-0.04, 1.06], title="share of right answers")
    source = f"{runs_and_seeds(table, 'line', 'fast_weights')}, {int(table['asked'].iloc[0])} texts a point and seed"
    return dress(figure, title="How many facts fit into the fast weights", source=source)
