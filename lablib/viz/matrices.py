"""Matrices side by side, as the explorers draw them: a heat map each, the first row on top."""

from collections.abc import Mapping
from typing import Any

import plotly.graph_objects as go

from lablib.viz.chart import dress
from lablib.viz.layout import domains

HEIGHT = 260


def matrices_figure(
    matrices: Mapping[str, dict[str, Any]], *, x: str, y: str, gap: float, told: str, caption: str
) -> go.Figure:
    """By name, what a heat map shows (`z`, its colours); `told` is the title and, after "; ", the line below it."""
    traces, layout = [], {}
    for i, ((name, shown), place) in enumerate(
        zip(matrices.items(), domains(len(matrices), len(matrices), None, gap, HEIGHT), strict=True)
    ):
        number, (across, up) = str(i + 1) if i else "", place
        axes = {"xaxis": f"x{number}", "yaxis": f"y{number}"}
        traces.append({"type": "heatmap", "name": name, "showscale": False, "showlegend": False} | axes | shown)
        layout[f"xaxis{number}"] = {"domain": list(across), "anchor": f"y{number}", "title": {"text": x}}
        layout[f"yaxis{number}"] = {"domain": list(up), "anchor": f"x{number}", "autorange": "reversed"}
    layout["yaxis"]["title"] = {"text": y}
    title, _, source = told.partition("; ")
    return dress(
        traces, layout, height=HEIGHT, lines=4, heads=list(matrices), columns=len(matrices), title=title,
        source=source, caption=caption,
    )  # fmt: skip
