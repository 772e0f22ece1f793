"""The figures of `longcontext/forecast`: what 4K tokens foretell, and how it came out."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.recall import LAWS, misses, with_reader
from lablib.viz.marks import NOTHING, add_seeds, length_axis, missing, runs_and_seeds
from lablib.viz.style import BLUE, DASHES, GREY, ORANGE, SYMBOLS, dress

COLOURS = (BLUE, ORANGE, GREY)
FLOOR = 1e-4  # what is less is drawn here: a logarithmic axis has no zero


def forecast_figure(table: pd.DataFrame) -> go.Figure:
    """A panel a haystack: predicted miss rate by length, a line a kind of reader; dotted, that of the normal tail."""
    if table.empty:
        return missing(NOTHING)
    rows = with_reader(table)
    rows[list(LAWS)] = rows[list(LAWS)].clip(lower=FLOOR)
    haystacks = list(rows["haystack"].unique())
    figure = make_subplots(
        cols=len(haystacks), subplot_titles=[f"{name} haystack" for name in haystacks], shared_yaxes=True,
        horizontal_spacing=0.05,
    )  # fmt: skip
    for col, haystack in enumerate(haystacks, start=1):
        for i, name in enumerate(sorted(rows["reader"].unique(), reverse=True)):
            mine = rows[(rows["haystack"] == haystack) & (rows["reader"] == name)]
            look = {"colour": COLOURS[i], "symbol": SYMBOLS[i], "legend": col == 1, "row": 1, "col": col}
            add_seeds(figure, mine, "length", "pareto_miss", name=name, dash=DASHES[0], **look)
            normal = mine.groupby("length")["gaussian_miss"].mean()
            figure.add_scatter(
                x=list(normal.index), y=list(normal), mode="lines", line={"color": COLOURS[i], "dash": "dot"},
                name=f"{name}, normal tail", showlegend=False, row=1, col=col,
            )  # fmt: skip
        length_axis(
            figure, sorted(rows["length"].unique())[::2], title="input length (tokens, log scale)", row=1, col=col
        )
    figure.update_yaxes(type="log", range=[-4.1, 0.1], exponentformat="power", dtick=1)
    figure.update_yaxes(title="predicted miss rate (log scale)", col=1)
    scores = f"scores at {int(rows['sampled_length'].iloc[0])} tokens"
    source = f"{runs_and_seeds(rows)}, {scores} · solid: Pareto tail, dotted: normal tail"
    return dress(figure, title="What the scores at 4K foretell of longer inputs", source=source, height=430)


def misses_figure(table: pd.DataFrame) -> go.Figure:
    """Of the table of `longcontext/far`: predicted against measured misses, a mark an arm; on the line they agree."""
    rows = misses(table) if not table.empty else table
    if rows.empty:
        return missing(NOTHING)
    figure = go.Figure()
    figure.add_scatter(
        x=[FLOOR, 1], y=[FLOOR, 1], mode="lines", line={"color": "#555", "dash": "dot", "width": 1}, showlegend=False,
        hoverinfo="skip",
    )  # fmt: skip
    for i, name in enumerate(sorted(rows["reader"].unique(), reverse=True)):
        for haystack, shape in zip(("synthetic", "text"), ("", "-open"), strict=True):
            mine = rows[(rows["reader"] == name) & (rows["haystack"] == haystack)]
            if mine.empty:
                continue
            at = mine["miss"].clip(lower=FLOOR)
            figure.add_scatter(
                x=mine["pareto_miss"].clip(lower=FLOOR), y=at, mode="markers", name=f"{name}, {haystack}",
                error_y={"array": mine["high"] - at, "arrayminus": at - mine["low"].clip(lower=FLOOR), "width": 0,
                         "thickness": 1},
                marker={"color": COLOURS[i], "symbol": SYMBOLS[i] + shape, "size": 8},
                customdata=mine[["seed", "length"]], hovertemplate="seed %{customdata[0]}, %{customdata[1]} tokens: "
                "predicted %{x:.4f}, measured %{y:.4f}<extra></extra>",
            )  # fmt: skip
    for axis in (figure.update_xaxes, figure.update_yaxes):
        axis(type="log", range=[-4.2, 0.1], exponentformat="power", dtick=1)
    figure.update_xaxes(title="miss rate predicted from 4K tokens")
    figure.update_yaxes(title="miss rate measured")
    source = (
        f"{runs_and_seeds(table)}; bars: 95 % Wilson intervals; nothing predicted or missed is drawn at the lower end"
    )
    return dress(figure, title="Misses foretold and misses counted", source=source, height=520)
