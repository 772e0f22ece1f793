"""The head and the foot of a figure by the width that it is drawn at: title, source, heads of panels, legend."""

from collections.abc import Sequence
from numbers import Real
from typing import Any

import plotly.graph_objects as go

from lablib.viz.style import fold, text_width

NARROW = 480  # pixels: a figure that fits here fits anywhere
TITLE, SOURCE, HEAD, NAME = 16, 12, 13, 12  # sizes of letters
LINE = 1.35  # of a size
LEFT = 62
GAP = 70  # pixels between rows of panels


def fit(figure: go.Figure, width: int) -> go.Figure:
    """The same figure with its texts folded for a width in pixels; a figure that the lab has not drawn as it is."""
    layout = figure.layout.to_plotly_json()
    if "plot" not in (layout.get("meta") or {}):
        return figure
    return go.Figure(figure.data, fitted(layout, width))


def domains(places: int, columns: int, widths: Sequence[float] | None, gap: Real, plot: int) -> list[tuple]:
    """The shares of width and height that panels take, row by row from the top; `gap` is that between columns."""
    rows, shares = -(-places // columns), widths or [1 / columns] * columns
    total, free, found = rows * (plot + GAP) - GAP, 1 - gap * (columns - 1), []
    for i in range(places):
        row, col = divmod(i, columns)
        left, top = free * sum(shares[:col]) + gap * col, 1 - row * (plot + GAP) / total
        found.append(([left, min(left + free * shares[col], 1)], [max(top - plot / total, 0), top]))
    return found


def fitted(layout: dict[str, Any], width: int) -> dict[str, Any]:
    """The layout with title, legend, margins and height for a width; `meta` says what there is to place."""
    meta = layout["meta"]
    titles, sources = fold(meta["title"], width - 16, TITLE), fold(meta["source"], width - 16, SOURCE)
    sources += [""] * (meta["lines"] - len(titles) - len(sources))
    heads, tall = _heads(layout, meta, width)
    top = 28 + LINE * (TITLE * len(titles) + SOURCE * len(sources)) + tall
    foot = 58 + _legend(meta["names"], width)
    height = round(top + (meta["plot"] + GAP) * -(-len(meta["heads"]) // meta["columns"]) - GAP + foot)
    small = [f'<span style="font-size:{SOURCE}px">{line}</span>' for line in sources]
    return layout | {
        "height": height,
        "margin": {"l": LEFT, "r": meta["right"], "t": top, "b": foot},
        "title": {"text": "<br>".join([f"<b>{line}</b>" for line in titles] + small), "font": {"size": TITLE}}
        | {"x": 8 / width, "xanchor": "left", "xref": "container"}
        | {"y": 1 - 14 / height, "yanchor": "top", "yref": "container"},
        "legend": {"orientation": "h", "x": 0, "y": 6 / height, "yref": "container", "yanchor": "bottom"}
        | {"font": {"size": NAME}, "tracegroupgap": 0, "bgcolor": "rgba(0,0,0,0)"},
        "annotations": [note for note in layout.get("annotations", []) if note.get("name") != "head"] + heads,
    }


def _heads(layout: dict[str, Any], meta: dict[str, Any], width: int) -> tuple[list[dict], Real]:
    """The titles over the panels, folded so that neighbours do not run into each other, and the height they need."""
    notes, most = [], 0
    for i, text in enumerate(meta["heads"]):
        across, up = (layout.get(f"{side}axis{i + 1 if i else ''}", {}).get("domain", (0, 1)) for side in "xy")
        lines = fold(text, (across[1] - across[0]) * (width - LEFT - meta["right"]) - 2, HEAD) if text else []
        most = max(most, len(lines)) if i < meta["columns"] else most
        notes.append(
            {"name": "head", "text": "<br>".join(lines), "x": across[0], "y": up[1], "xref": "paper", "yref": "paper",
             "xanchor": "left", "yanchor": "bottom", "showarrow": False, "align": "left", "font": {"size": HEAD},
             "visible": bool(lines)}
        )  # fmt: skip
    return notes, LINE * HEAD * most + 4 if most else 0


def _legend(names: Sequence[str], width: int) -> Real:
    """The height of a legend whose names flow into rows."""
    rows, used = 1, 0.0
    for name in names:
        needs = text_width(name, NAME) + 42
        rows, used = (rows, used + needs) if used + needs <= width - LEFT - 10 else (rows + 1, needs)
    return 12 + 19 * rows if names else 0
