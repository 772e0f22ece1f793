"""The figures of `longcontext/warmup` and of the same recipes steered: both sides of the seesaw in one plane."""

import pandas as pd
import plotly.graph_objects as go

from lablib.core.stats import mean_interval
from lablib.longcontext.cures import asked_length, outcomes
from lablib.viz.marks import NOTHING, missing, questions_asked, runs_and_seeds, spell_length
from lablib.viz.style import GREY, dress, look, rgba


def warmup_figure(table: pd.DataFrame, own: pd.DataFrame | None = None, length: int = 16_384) -> go.Figure:
    """Local loss against exact recall at one length: a faint mark a seed, a large one the mean of a recipe."""
    return plane(table, length, own, title="A narrow start gives the wide window both sides, while the rate decays")


def plane(table: pd.DataFrame, length: int, own: pd.DataFrame | None = None, *, title: str) -> go.Figure:
    """Local loss (left is better) against exact recall (up is better), a colour and a symbol a recipe.

    `own` runs, if given, are drawn hollow over those of the table.
    """
    if table.empty:
        return missing(NOTHING)
    length = asked_length(table, length)
    arms, figure = outcomes(table, length), go.Figure()
    looks = {name: (look(i)["colour"], look(i)["symbol"]) for i, name in enumerate(arms["recipe"].unique())}
    for name, group in arms.groupby("recipe", sort=False):
        colour, symbol = looks[name]
        figure.add_scatter(
            x=group["local_loss"], y=group["exact"], mode="markers", showlegend=False, legendgroup=name,
            marker={"color": rgba(colour, 0.4), "size": 7, "symbol": symbol}, customdata=group["seed"],
            hovertemplate="seed %{customdata}: %{x:.3f} nats, recall %{y:.2f}<extra>" + str(name) + "</extra>",
        )  # fmt: skip
        across, up = mean_interval(group["local_loss"]), mean_interval(group["exact"])
        figure.add_scatter(
            x=[across.estimate], y=[up.estimate], mode="markers", name=str(name), legendgroup=name,
            marker={"color": colour, "size": 14, "symbol": symbol, "line": {"width": 1, "color": "white"}},
            error_y=_bar(up, colour), error_x=_bar(across, colour),
            hovertemplate="mean %{x:.3f} nats, recall %{y:.2f}<extra>" + str(name) + "</extra>",
        )  # fmt: skip
    if own is not None and (own["length"] == length).any():
        mine = outcomes(own, length)
        figure.add_scatter(
            x=mine["local_loss"], y=mine["exact"], mode="markers", name="your own runs (hollow)",
            marker={"color": [looks.get(name, (GREY,))[0] for name in mine["recipe"]], "symbol": "circle-open",
                    "size": 15, "line": {"width": 2.5}},
            text=mine["recipe"], hovertemplate="your run: %{x:.3f} nats, recall %{y:.2f}<extra>%{text}</extra>",
        )  # fmt: skip
    figure.update_xaxes(title="loss of the next token on plain rows (nats; left is better)")
    figure.update_yaxes(title=f"exact recall at {spell_length(length)} tokens", range=[-0.04, 1.08])
    source = (
        f"{runs_and_seeds(table, 'recipe', 'recipe')}, {questions_asked(table)} · bars: 95 % intervals of the means"
    )
    return dress(figure, title=title, source=source, height=480, legend_rows=len(looks))


def _bar(interval, colour: str) -> dict:
    low, mean, high = interval.low, interval.estimate, interval.high
    return {"type": "data", "symmetric": False, "array": [high - mean], "arrayminus": [mean - low], "color": colour}
