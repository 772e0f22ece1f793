"""The figure of `ttt/recall`: what was said once, by how far back."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, add_seeds, missing, runs_and_seeds
from lablib.viz.style import dress, look


def recall_figure(table: pd.DataFrame) -> go.Figure:
    """A panel a kind of training questions: share of right answers by distance, a line a peer."""
    if table.empty:
        return missing(NOTHING)
    rows = table[table["phase"] == "recall"]
    kinds, names = list(rows["questions"].unique()), list(rows["name"].unique())
    reach = rows["nearest"].astype(int).astype(str) + "-" + rows["farthest"].astype(int).astype(str)
    rows = rows.assign(reach=reach).sort_values("nearest", kind="stable")
    titles = [f"trained with {kind}" for kind in kinds]
    figure = make_subplots(cols=len(kinds), subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.06)
    for col, kind in enumerate(kinds, start=1):
        for i, name in enumerate(names):
            mine = rows[(rows["questions"] == kind) & (rows["name"] == name)]
            add_seeds(figure, mine, "reach", "exact", name=name, **look(i), legend=col == 1, row=1, col=col)
        figure.update_xaxes(title="tokens from a fact to its question", type="category", row=1, col=col)
    guess = 1 / int(table["facts.num_values"].iloc[0])
    figure.add_hline(y=guess, line={"dash": "dot", "color": "#555", "width": 1}, row=1, col="all")
    figure.update_yaxes(range=[-0.04, 1.06])
    figure.update_yaxes(title="share of right answers", col=1)
    source = f"{runs_and_seeds(table, 'line', 'name')}, {int(table['asked'].iloc[0])} texts each; dotted: a guess"
    return dress(figure, title="Who reads better need not remember", source=source, height=430)
