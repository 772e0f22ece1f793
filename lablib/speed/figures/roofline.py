"""The roofline of an operator: what each provider reaches of what the machine could do (CACM 2009)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, missing, runs_and_seeds
from lablib.viz.style import dress, look

MODE = "forward and backward"


def roofline_figure(table: pd.DataFrame, *, title: str) -> go.Figure:
    """FLOP/s over FLOPs a byte, a panel an operator, a marker a provider and shape; larger markers for longer texts.

    FLOPs and bytes are the operator's own, so that a provider that does other or more work lies lower. The line is the
    machine: its copy, then its matrix product, both measured in the same processes.
    """
    if table.empty:
        return missing(NOTHING)
    operators, names = list(table["operator"].unique()), list(table["provider"].unique())
    figure = make_subplots(cols=len(operators), subplot_titles=operators, shared_yaxes=True, horizontal_spacing=0.04)
    shown: set[str] = set()
    for col, operator in enumerate(operators, start=1):
        rows = table[table["operator"] == operator]
        rows = rows[rows["mode"] == (MODE if (rows["mode"] == MODE).any() else "forward")]
        add_roof(figure, rows, col)
        for name, mine in rows.groupby("provider", sort=False):
            add_provider(figure, mine, str(name), names.index(name), col, legend=name not in shown)
            shown.add(str(name))
    figure.update_xaxes(type="log", title="FLOPs a byte")
    figure.update_yaxes(type="log", dtick=1, exponentformat="SI")
    figure.update_yaxes(title="FLOP/s (log scale)", col=1)
    kind = f"{table['device'].iloc[0]}, {table['dtype'].iloc[0]}"
    source = f"{runs_and_seeds(table)}, {kind}, {MODE} where there is one; larger marks: longer texts"
    return dress(figure, title=title, source=source, height=460, legend_rows=len(names))


def add_provider(figure: go.Figure, rows: pd.DataFrame, name: str, place: int, col: int, *, legend: bool) -> None:
    """A mark a shape, at the median over seeds."""
    shapes = ["shape.time", "shape.dim", "shape.kv_heads"]
    means = rows.groupby(shapes)[["flops", "bytes", "seconds"]].median().reset_index()
    tokens = means["shape.time"]
    colour, _, symbol = look(place).values()
    figure.add_scatter(
        x=means["flops"] / means["bytes"], y=means["flops"] / means["seconds"], name=name, legendgroup=name,
        showlegend=legend, mode="markers", customdata=means[shapes],
        marker={"color": colour, "symbol": symbol, "size": 7 + 1.5 * np.log2(tokens / tokens.min())}, row=1, col=col,
        hovertemplate="%{customdata[0]:,} tokens, heads of %{customdata[1]}, %{customdata[2]} key heads: "
        "%{y:.3s}FLOP/s<extra>" + name + "</extra>",
    )  # fmt: skip


def add_roof(figure: go.Figure, rows: pd.DataFrame, col: int) -> None:
    """The lower of what the copy and the product allow."""
    flops, moved = rows["flops_per_second"].median(), rows["bytes_per_second"].median()
    places = rows["flops"] / rows["bytes"]
    x = np.geomspace(min(places.min(), flops / moved) / 2, max(places.max(), flops / moved) * 2, 60)
    figure.add_scatter(
        x=x, y=np.minimum(flops, moved * x), mode="lines", line={"color": "black", "width": 1}, name="the machine",
        legendgroup="the machine", showlegend=col == 1, hoverinfo="skip", row=1, col=col,
    )  # fmt: skip
