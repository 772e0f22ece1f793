"""The figures of `longcontext/seesaw`: table in, plotly figure out, no torch."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.core.stats import mean_interval
from lablib.longcontext.summaries import PLAIN, VARIANTS, by_length, gradient_mass, in_domain, with_variant
from lablib.viz.marks import (
    NOTHING,
    add_bars,
    add_seeds,
    length_axis,
    missing,
    questions_asked,
    reference_line,
    runs_and_seeds,
    spell_length,
)
from lablib.viz.style import DASHES, END_COLOURS, FAMILIES, ORANGE, SYMBOLS, VERMILLION, dress, ramp


def seesaw_figure(table: pd.DataFrame, own: pd.DataFrame | None = None) -> go.Figure:
    """The signature: exact recall by length for each window, and at the longest common length by window.

    `own` arms are drawn over the recorded ones as open diamonds.
    """
    if table.empty or (rows := by_length(table)).empty:
        return missing(NOTHING)
    windows = sorted(rows["model.window"].unique())
    longest = int(rows.groupby("model.window")["length"].max().min())
    figure = make_subplots(
        cols=2, column_widths=[0.62, 0.38], horizontal_spacing=0.09,
        subplot_titles=["by input length", f"at {spell_length(longest)} tokens, by window"],
    )  # fmt: skip
    for i, (window, colour) in enumerate(zip(windows, ramp(len(windows)), strict=True)):
        mine = rows[rows["model.window"] == window]
        look = {"colour": colour, "dash": DASHES[i % len(DASHES)], "symbol": SYMBOLS[i % len(SYMBOLS)]}
        add_seeds(figure, mine, "length", "exact", name=f"window {window}", **look, row=1, col=1)
        at_end = mine[mine["length"] == longest].assign(place=str(window))
        add_seeds(figure, at_end, "place", "exact", name=f"window {window}", **look, row=1, col=2, legend=False)
        _add_error_bar(figure, at_end, str(window), colour)
    _add_own(figure, own, longest)
    length_axis(figure, rows["length"], title="input length (tokens, log scale)", row=1, col=1)
    _window_axis(figure, rows, row=1, col=2)
    figure.update_yaxes(range=[-0.04, 1.06], title="exact recall", row=1, col=1)
    figure.update_yaxes(range=[-0.04, 1.06], row=1, col=2)
    reference_line(figure, 1 / rows["data.num_values"].iloc[0], "chance", row=1, col=1)
    trained = int(rows["data.length"].iloc[0])
    title = f"The seesaw: all windows answer at the training length of {trained}, only narrow ones far beyond it"
    return dress(figure, title=title, source=_source(rows, own), height=460)


def controls_figure(table: pd.DataFrame) -> go.Figure:
    """Exact recall by length of the plain narrow model and of every control."""
    if table.empty or (rows := by_length(table, None)).empty:
        return missing(NOTHING)
    figure, drawn = go.Figure(), []
    narrow = rows["model.window"].min()
    for i, (family, colour) in enumerate(FAMILIES.items()):
        mine = rows[(rows["variant"] == family) & (rows["model.window"] == narrow)]
        look = {"colour": colour, "dash": DASHES[i % len(DASHES)], "symbol": SYMBOLS[i % len(SYMBOLS)]}
        add_seeds(figure, mine, "length", "exact", name=family, **look)
        drawn.append(mine)
    wide = rows[(rows["variant"] == "SWA only") & (rows["model.window"] == rows["data.length"])]
    add_seeds(figure, wide, "length", "exact", name="SWA only, wide", colour="#333333", dash="dot", symbol="cross")
    length_axis(figure, rows["length"], title="input length (tokens, log scale)")
    figure.update_yaxes(range=[-0.04, 1.06], title="exact recall")
    reference_line(figure, 1 / rows["data.num_values"].iloc[0], "chance")
    shown = pd.concat([*drawn, wide])
    return dress(figure, title="Controls: what else could have answered", source=_source(shown), height=450)


def gradient_figure(table: pd.DataFrame) -> go.Figure:
    """During training, by window: the loss, and the gradient that reaches retrieval and the whole HSA path."""
    rows = with_variant(table) if not table.empty else table
    if rows.empty or (rows := rows[(rows["phase"] == "train") & (rows["variant"] == PLAIN)]).empty:
        return missing(NOTHING)
    panels = {"loss": "loss (nats)", "hsa_grad": "gradient on the HSA path", "retrieval_grad": "… on its projections"}
    figure = make_subplots(cols=3, subplot_titles=list(panels.values()), horizontal_spacing=0.1)
    windows = sorted(rows["model.window"].unique())
    for i, (window, colour) in enumerate(zip(windows, ramp(len(windows)), strict=True)):
        runs = rows[rows["model.window"] == window]
        for col, column in enumerate(panels, start=1):
            middle = runs.groupby("step")[column].median()
            figure.add_scatter(
                x=middle.index, y=middle.clip(lower=1e-6), mode="lines", name=f"window {window}",
                legendgroup=str(window), showlegend=col == 1,
                line={"color": colour, "width": 2, "dash": DASHES[i % len(DASHES)]}, row=1, col=col,
            )  # fmt: skip
    figure.update_yaxes(type="log", exponentformat="power", dtick=1)
    figure.update_xaxes(title="training step")
    return dress(
        figure, title="The mechanism: a wide window answers first, and the gradient into HSA dies",
        source=_source(rows) + " · median over seeds", height=420,
    )  # fmt: skip


def gradient_mass_figure(table: pd.DataFrame) -> go.Figure:
    """By window: the gradient that reached HSA, summed over training, a dot a seed."""
    if table.empty or (mass := gradient_mass(table)).empty:
        return missing(NOTHING)
    figure = go.Figure()
    places = mass.sort_values("model.window").assign(place=lambda rows: rows["model.window"].astype(str))
    add_seeds(figure, places, "place", "hsa_grad", name="whole HSA path", colour=VERMILLION)
    add_seeds(
        figure,
        places,
        "place",
        "retrieval_grad",
        name="retrieval projections",
        colour=ORANGE,
        dash="dash",
        symbol="square",
    )
    _window_axis(figure, mass)
    figure.update_yaxes(type="log", title="summed gradient norm (log scale)")
    rows = with_variant(table)
    source = _source(rows[(rows["variant"] == PLAIN) & (rows["phase"] == "train")])
    return dress(figure, title="Gradient that reached HSA, over the whole training", source=source)


def local_figure(table: pd.DataFrame) -> go.Figure:
    """The other side: held-out in-domain loss by window, on the local component and on real text."""
    kinds = ("local component, every token", "real text, every token")
    if table.empty or all(in_domain(table, kind).empty for kind in kinds):
        return missing(NOTHING)
    figure = make_subplots(cols=2, subplot_titles=["haystack with a local component", "real text (bytes)"])
    shown = []
    for col, kind in enumerate(kinds, start=1):
        rows = in_domain(table, kind)
        if rows.empty:
            continue
        places = rows.sort_values("model.window").assign(place=lambda rows: rows["model.window"].astype(str))
        colour = FAMILIES[PLAIN] if col == 1 else VERMILLION
        add_seeds(figure, places, "place", "loss", name=kind, colour=colour, symbol=SYMBOLS[col - 1], row=1, col=col)
        _window_axis(figure, rows, row=1, col=col)
        shown.append(rows)
    figure.update_yaxes(title="held-out loss (nats per token)", row=1, col=1)
    figure.update_traces(showlegend=False)  # the panels' titles say it
    source = _source(pd.concat(shown))
    return dress(figure, title="The other side: in-domain loss by window", source=source, height=400)


def ablation_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """Exact recall at one length, narrow against wide window, for every ablation: a dot a seed, a bar the mean."""
    rows = by_length(table, None) if not table.empty else table
    rows = rows[rows["length"] == length] if not rows.empty else rows
    if rows.empty:
        return missing(NOTHING)
    ends = (int(rows["model.window"].min()), int(rows["data.length"].iloc[0]))
    complete = rows[rows["model.window"].isin(ends)].groupby("variant")["model.window"].nunique() == 2
    names = [name for name in (PLAIN, *VARIANTS) if complete.get(name, False) and name != "SWA only"]
    figure = go.Figure()
    for window, colour, symbol in zip(ends, END_COLOURS, SYMBOLS, strict=False):
        mine = rows[(rows["model.window"] == window) & rows["variant"].isin(names)]
        add_bars(figure, mine, "variant", "exact", order=names, name=f"window {window}", colour=colour, symbol=symbol)
    figure.update_xaxes(range=[-0.02, 1.04], title=f"exact recall at {spell_length(length)} tokens")
    title = "One thing changed at a time: does the seesaw survive?"
    return dress(figure, title=title, source=_source(rows), height=120 + 44 * len(names))


def _window_axis(figure: go.Figure, rows: pd.DataFrame, row: int | None = None, col: int | None = None) -> None:
    reach = rows.drop_duplicates("model.window").sort_values("model.window").set_index("model.window")["reach"]
    figure.update_xaxes(
        type="category", categoryorder="array", categoryarray=[str(w) for w in reach.index],
        tickvals=[str(w) for w in reach.index], ticktext=[f"{w}<br>({int(r)})" for w, r in reach.items()],
        title="window (stacked reach), tokens", tickfont={"size": 11}, row=row, col=col,
    )  # fmt: skip


def _add_error_bar(figure: go.Figure, rows: pd.DataFrame, place: str, colour: str) -> None:
    interval = mean_interval(rows["exact"])
    figure.add_scatter(
        x=[place], y=[interval.estimate], mode="markers", marker={"color": colour, "size": 1}, showlegend=False,
        error_y={
            "type": "data", "symmetric": False, "array": [interval.high - interval.estimate],
            "arrayminus": [interval.estimate - interval.low], "color": colour, "thickness": 1.5,
        },
        hoverinfo="skip", row=1, col=2,
    )  # fmt: skip


def _add_own(figure: go.Figure, own: pd.DataFrame | None, longest: int) -> None:
    if own is None or own.empty:
        return
    rows = by_length(own)
    looks = {"mode": "markers", "marker": {"symbol": "diamond-open", "size": 11, "color": "#111", "line": {"width": 2}}}
    figure.add_scatter(
        x=rows["length"], y=rows["exact"], name="your own runs", **looks, customdata=rows[["model.window", "seed"]],
        hovertemplate="window %{customdata[0]}, seed %{customdata[1]}: %{y:.3f}<extra>yours</extra>", row=1, col=1,
    )  # fmt: skip
    rows = rows[rows["length"] == longest]
    figure.add_scatter(x=rows["model.window"].astype(str), y=rows["exact"], showlegend=False, **looks, row=1, col=2)


def _source(rows: pd.DataFrame, own: pd.DataFrame | None = None) -> str:
    """Recorded or own runs, and how many seeds and questions stand behind a point."""
    text = runs_and_seeds(rows, "point", ["variant", "model.window"])
    if (rows["phase"] == "test").all():
        text += f", {questions_asked(rows)}"
    return text + (" · open diamonds: your own runs" if own is not None and not own.empty else "")
