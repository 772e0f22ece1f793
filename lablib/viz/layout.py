"""The head and the foot of a figure by the width that it is drawn at: title, source, heads of panels, legend."""

import plotly.graph_objects as go

from lablib.viz.style import fold, text_width

NARROW = 480  # pixels: a figure that fits here fits anywhere
TITLE, SOURCE, HEAD, NAME = 16, 12, 13, 12  # sizes of letters
LINE = 1.35  # of a size
LEFT = 62
GAP = 70  # pixels between rows of panels


def fit(figure: go.Figure, width: int = NARROW) -> go.Figure:
    """The same figure with its texts folded for a width in pixels; others (see `missing`) come back as they are."""
    meta = figure.layout.meta or {}
    if "plot" not in meta:
        return figure
    titles, sources = fold(meta["title"], width - 16, TITLE), fold(meta["source"], width - 16, SOURCE)
    sources += [""] * (meta["lines"] - len(titles) - len(sources))
    heads = _heads(figure, meta, width)
    top = 14 + LINE * (TITLE * len(titles) + SOURCE * len(sources)) + 14 + heads
    lines = -(-len(meta["heads"]) // meta["columns"])
    plot = meta["plot"] * lines + GAP * (lines - 1)
    foot = 58 + _legend(figure, meta["names"], width)
    small = [f'<span style="font-size:{SOURCE}px">{line}</span>' for line in sources]
    height = round(top + plot + foot)
    title = "<br>".join([f"<b>{line}</b>" for line in titles] + small)
    figure.update_layout(
        height=height,
        margin={"l": LEFT, "r": meta["right"], "t": top, "b": foot},
        title={"text": title, "font": {"size": TITLE}, "x": 8 / width, "xanchor": "left", "y": 1 - 14 / height}
        | {"yanchor": "top", "yref": "container", "xref": "container"},
        legend={"orientation": "h", "x": 0, "y": 6 / height, "yref": "container", "yanchor": "bottom"}
        | {"font": {"size": NAME}, "tracegroupgap": 0, "bgcolor": "rgba(0,0,0,0)"},
    )
    return figure


def _heads(figure: go.Figure, meta: dict, width: int) -> float:
    """Write the titles over the panels, folded so that neighbours do not run into each other; returns their height."""
    figure.layout.annotations = [note for note in figure.layout.annotations if note.name != "head"]
    most = 0
    for i, text in enumerate(meta["heads"]):
        across, up = (figure.layout[f"{side}axis{i + 1 if i else ''}"].domain or (0, 1) for side in "xy")
        lines = fold(text, (across[1] - across[0]) * (width - LEFT - meta["right"]) - 2, HEAD) if text else []
        most = max(most, len(lines)) if i < meta["columns"] else most
        figure.add_annotation(
            name="head", text="<br>".join(lines), x=across[0], y=up[1], xref="paper", yref="paper", xanchor="left",
            yanchor="bottom", showarrow=False, align="left", font={"size": HEAD}, visible=bool(lines),
        )  # fmt: skip
    return LINE * HEAD * most + 4 if most else 0


def _legend(figure: go.Figure, names: list[str], width: int) -> float:
    """The height of a legend whose names flow into rows."""
    if not names or not figure.layout.showlegend:
        return 0
    rows, used = 1, 0.0
    for name in names:
        needs = text_width(name, NAME) + 42
        rows, used = (rows, used + needs) if used + needs <= width - LEFT - 10 else (rows + 1, needs)
    return 12 + 19 * rows
