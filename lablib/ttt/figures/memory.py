"""The figure of `ttt/memory`: the peak memory of an outer step by checkpoint group."""

import pandas as pd
import plotly.graph_objects as go

from lablib.viz.marks import NOTHING, missing
from lablib.viz.style import dress, look


def memory_figure(table: pd.DataFrame) -> go.Figure:
    """MiB above what stood before the step, by chunks to a checkpoint, a line a number of chunks; dotted without."""
    if table.empty:
        return missing(NOTHING)
    figure = go.Figure()
    for i, (chunks, rows) in enumerate(table.groupby("chunks")):
        colour, dash, symbol = look(i).values()
        grouped = rows[rows["group"] > 0].groupby("group")["peak_megabytes"].mean()
        figure.add_scatter(
            x=grouped.index, y=grouped, mode="lines+markers", name=f"{chunks} chunks",
            line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 9},
        )  # fmt: skip
        plain = rows.loc[rows["group"] == 0, "peak_megabytes"]
        if len(plain):
            figure.add_hline(y=plain.mean(), line={"dash": "dot", "color": colour, "width": 1})
    ticks = sorted(set(table["group"]) - {0})
    figure.update_xaxes(type="log", tickvals=ticks, title="chunks to a checkpoint (log scale)")
    figure.update_yaxes(type="log", title="MiB of an outer step (log scale)")
    kind = " and ".join(f"{store} runs" for store in sorted(table["store"].unique()))
    return dress(figure, title="Checkpoints through time", source=f"{kind}; dotted: none", height=430)
