"""The figures of `ttt/trace`: the fast weights while they read one text."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, missing, runs_and_seeds
from lablib.viz.style import BLUE, GREY, VERMILLION, dress


def trace_figure(table: pd.DataFrame) -> go.Figure:
    """The text read with its own chunk and rate, to its end."""
    if table.empty:
        return missing(NOTHING)
    arms = table[(table["factor"] == 1) & (table["chunk"] == table["chunk"].max()) & (table["seed"] == 0)]
    return step_figure(arms, previous=1, read=int(arms["start"].max()))


def step_figure(rows: pd.DataFrame, *, previous: int, read: int) -> go.Figure:
    """By chunk until `read`: the loss, how far the weights moved; right: what would follow watched token `previous`."""
    rows = rows.sort_values("start")
    past, chunk = rows[rows["start"] <= read], int(rows["chunk"].iloc[0])
    now, token = past.iloc[-1], int(past[f"watched_{previous}"].iloc[-1])
    titles = ("loss of each chunk", "how far the weights moved", f"what follows token {token}")
    figure = make_subplots(cols=3, subplot_titles=titles, horizontal_spacing=0.08)
    lines = (("loss", "loss", BLUE, 1), ("best", "best possible", GREY, 1), ("moved", "|W - W0| / |W0|", VERMILLION, 2))
    for measure, name, colour, col in lines:
        figure.add_scatter(
            x=past["start"], y=past[measure], mode="lines+markers", name=name, line={"color": colour}, row=1, col=col
        )
    for kind, name, colour in (("first", "by the first weights", GREY), ("now", "by the weights now", VERMILLION)):
        chances = successors(now, kind, previous)
        figure.add_bar(x=np.arange(len(chances)), y=chances, name=name, marker={"color": colour}, row=1, col=3)
    seen = successors(now, "seen", previous)
    mark = {"color": BLUE, "symbol": "line-ew-open", "size": 12, "line": {"width": 2}}
    figure.add_scatter(
        x=np.arange(len(seen)), y=seen / max(seen.sum(), 1), mode="markers", name="share of those seen so far",
        marker=mark, row=1, col=3,
    )  # fmt: skip
    last = float(rows["start"].max())
    for col in (1, 2):
        figure.update_xaxes(range=[-chunk, last + chunk], title="tokens read", row=1, col=col)
    figure.update_xaxes(title="next token", row=1, col=3)
    figure.update_yaxes(range=[0, float(np.nanmax(rows["loss"])) * 1.05], row=1, col=1)
    figure.update_yaxes(range=[0, max(float(rows["moved"].max()) * 1.05, 0.01)], row=1, col=2)
    figure.update_yaxes(range=[0, 1], row=1, col=3)
    read_how = f"{runs_and_seeds(rows)}; chunks of {chunk}, {now['factor']:g} times the learnt inner rate"
    source = f"{read_how}; the chunk at {int(now['start'])}: {now['tokens']}"
    figure = dress(figure, title="Fast weights while they read one text", source=source, height=450)
    return figure.update_layout(height=500)  # with another height plotly would fix the width too


def successors(row: pd.Series, kind: str, previous: int) -> np.ndarray:
    """Of one chunk, the columns of a kind for one watched token, by its successor."""
    names = [name for name in row.index if str(name).startswith(f"{kind}_{previous}_")]
    return row[names].to_numpy(float)
