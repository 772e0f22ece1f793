"""Marks that most figures share: a mean with its interval and every seed, grouped bars, a length axis."""

from collections.abc import Collection, Sequence
from numbers import Real

import pandas as pd
import plotly.graph_objects as go

from lablib.core.stats import mean_interval
from lablib.viz.style import rgba

NOTHING = "No arms in this table yet: run the experiment, or `lab record` for the recorded ones."


def spell_length(tokens: Real) -> str:
    """A length in tokens as people say it: 64, 4K, 1M."""
    for unit, size in (("M", 2**20), ("K", 2**10)):
        if tokens >= size:
            return f"{tokens / size:g}{unit}"
    return f"{tokens:g}"


def runs_and_seeds(rows: pd.DataFrame, each: str = "", by: str | list[str] | None = None) -> str:
    """What a figure is drawn from: "recorded runs, 3 to 5 seeds a line", with the seeds of each group of `by`."""
    runs = " and ".join(f"{store} runs" for store in sorted(rows["store"].unique()))
    seeds = rows.groupby(by)["seed"].nunique() if by else pd.Series(rows["seed"].nunique())
    span = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    return f"{runs}, {span} seeds" + (f" a {each}" if each else "")


def questions_asked(rows: pd.DataFrame) -> str:
    """How many questions each arm was asked at a length, for the line under a title."""
    return f"{int(rows['haystacks'].iloc[0] * rows['questions'].max())} questions a seed"


def add_seeds(
    figure: go.Figure,
    table: pd.DataFrame,
    x: str,
    y: str,
    *,
    name: str,
    colour: str,
    dash: str = "solid",
    symbol: str = "circle",
    row: int | None = None,
    col: int | None = None,
    legend: bool = True,
) -> None:
    """A line through the means over seeds, a band for their 95 % t interval, and a faint dot for every seed."""
    table = table.dropna(subset=[y])
    if table.empty:
        return
    # places on a category axis keep the order of the table
    grouped = table.groupby(x, sort=pd.api.types.is_numeric_dtype(table[x]))
    means = grouped[y].apply(lambda values: pd.Series(mean_interval(values)._asdict())).unstack()
    at = list(means.index)
    band = [*means["high"], *means["low"][::-1]]
    figure.add_scatter(
        x=at + at[::-1], y=band, fill="toself", fillcolor=rgba(colour, 0.15), line={"width": 0}, mode="lines",
        hoverinfo="skip", showlegend=False, legendgroup=name, row=row, col=col,
    )  # fmt: skip
    figure.add_scatter(
        x=table[x], y=table[y], mode="markers", marker={"color": rgba(colour, 0.35), "size": 5, "symbol": symbol},
        customdata=table["seed"], hovertemplate="seed %{customdata}: %{y:.3f}<extra>" + name + "</extra>",
        showlegend=False, legendgroup=name, row=row, col=col,
    )  # fmt: skip
    figure.add_scatter(
        x=at, y=means["estimate"], mode="lines+markers", name=name, legendgroup=name, showlegend=legend,
        line={"color": colour, "width": 2.5, "dash": dash}, marker={"size": 8, "symbol": symbol},
        hovertemplate="mean %{y:.3f}<extra>" + name + "</extra>", row=row, col=col,
    )  # fmt: skip


def add_bars(
    figure: go.Figure,
    table: pd.DataFrame,
    category: str,
    x: str,
    *,
    order: Sequence[str],
    name: str,
    colour: str,
    symbol: str = "circle",
    row: int | None = None,
    col: int | None = None,
    legend: bool = True,
) -> None:
    """By category, a pale bar to the mean over seeds and a dot for every seed; bars of several names stand grouped."""
    means = table.groupby(category)[x].mean().reindex(order)
    figure.add_bar(
        y=list(order), x=means, orientation="h", name=name, legendgroup=name, showlegend=legend,
        marker={"color": colour, "opacity": 0.35}, offsetgroup=name, hovertemplate="mean %{x:.3f}<extra></extra>",
        row=row, col=col,
    )  # fmt: skip
    figure.add_scatter(
        y=table[category], x=table[x], mode="markers", marker={"color": colour, "size": 8, "symbol": symbol},
        orientation="h", offsetgroup=name, legendgroup=name, showlegend=False, customdata=table["seed"],
        hovertemplate="seed %{customdata}: %{x:.3f}<extra></extra>", row=row, col=col,
    )  # fmt: skip
    figure.update_layout(barmode="group", scattermode="group")
    figure.update_yaxes(autorange="reversed", automargin=True, row=row, col=col)


def length_axis(figure: go.Figure, lengths: Collection, *, title: str, row: int | None = None, col: int | None = None):
    """A logarithmic axis of lengths with their spoken names."""
    ticks = sorted(set(lengths))
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[spell_length(n) for n in ticks], title=title, row=row, col=col
    )


def reference_line(figure: go.Figure, y: float, text: str, *, row: int | str = "all", col: int | str = "all") -> None:
    """A dotted level across a panel, such as chance."""
    figure.add_hline(
        y=y, line={"dash": "dot", "color": "#555", "width": 1}, annotation_text=text,
        annotation_position="bottom right", annotation_font_size=11, row=row, col=col,
    )  # fmt: skip


def missing(text: str) -> go.Figure:
    """An empty figure that says what is missing and how to make it."""
    figure = go.Figure()
    figure.add_annotation(text=text, showarrow=False, font={"size": 15}, x=0.5, y=0.5, xref="paper", yref="paper")
    figure.update_layout(template="plotly_white", height=220, xaxis={"visible": False}, yaxis={"visible": False})
    return figure
