"""The figure of `longcontext/race`: which circuit answers, step by step."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.doubts import with_group
from lablib.viz.marks import NOTHING, add_seeds, missing, questions_asked, runs_and_seeds, spell_length
from lablib.viz.style import BLACK, BLUE, GREEN, VERMILLION, dress

CURVES = {
    "whole": ("whole model, training length", BLACK, "solid", "circle"),
    "window_alone": ("windows alone (HSA taken away)", VERMILLION, "dash", "square"),
    "hsa_alone": ("HSA alone (windows cut to a chunk)", BLUE, "dot", "diamond"),
    "far": ("whole model, {far}", GREEN, "longdash", "triangle-up"),
}


def race_figure(table: pd.DataFrame) -> go.Figure:
    """A panel a group of arms: recall of the whole model and of each circuit alone, by training step."""
    if table.empty:
        return missing(NOTHING)
    rows = with_group(table).dropna(subset=["whole"])
    groups = sorted(rows["group"].unique(), key=lambda name: (len(name) > 10, int(name.split()[1].strip(","))))
    columns = min(2, len(groups))
    figure = make_subplots(
        rows=-(-len(groups) // columns), cols=columns, subplot_titles=groups, shared_yaxes=True,
        horizontal_spacing=0.05, vertical_spacing=0.16,
    )  # fmt: skip
    far = spell_length(int(rows["lengths"].iloc[0].split()[-1]))
    for i, group in enumerate(groups):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        mine = rows[rows["group"] == group]
        for column, (name, colour, dash, symbol) in CURVES.items():
            look = {"colour": colour, "dash": dash, "symbol": symbol, "legend": i == 0}
            add_seeds(figure, mine, "step", column, name=name.format(far=far), **look, **place)
        figure.add_vline(x=int(mine["train.steps"].iloc[0]), line={"dash": "dot", "color": "#555", "width": 1}, **place)
        figure.update_xaxes(title="training step", **place)
    figure.update_yaxes(range=[-0.04, 1.06])
    figure.update_yaxes(title="exact recall", col=1)
    source = (
        f"{runs_and_seeds(rows, 'group', 'group')}, {questions_asked(rows)} and point · dotted: the second part begins"
    )
    title = "The race: who answers first keeps the answer"
    return dress(figure, title=title, source=source, height=120 + 300 * (-(-len(groups) // columns)))
