"""The explorer of notebook 03, over the recorded trace: step through a text and watch the fast weights learn it."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures import trace_chart
from lablib.viz.chart import draw
from lablib.viz.widgets import Explorer


def trace_explorer(table: pd.DataFrame) -> Explorer:
    """Sliders for the tokens read, the chunk b, the inner rate, and the token whose successors are watched."""

    table = table[table["seed"] == 0]

    def draw_until(read: int, chunk: int, rate: float, after: int) -> go.Figure:
        rows = table[(table["chunk"] == chunk) & (table["factor"] == rate)]
        return draw(trace_chart(rows, previous=watched.index(after), read=read, lines=5))

    reads = sorted(int(start) for start in table.loc[table["chunk"] == table["chunk"].max(), "start"].unique())
    watched = [int(table[name].iloc[0]) for name in sorted(table) if str(name).startswith("watched_")]
    sliders = {
        "read": reads,
        "chunk": sorted(int(chunk) for chunk in table["chunk"].unique()),
        "rate": sorted(float(factor) for factor in table["factor"].unique()),
        "after": watched,
    }
    start = {"read": reads[-1], "chunk": sliders["chunk"][-1], "rate": 1.0, "after": watched[1]}
    return Explorer(draw_until, sliders, start=start)
