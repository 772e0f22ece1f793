"""The figures of `longcontext/harder`: what is left of retrieval when more than the needle looks like one."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.doubts import TRAINED_ON, with_training
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
from lablib.viz.style import BLUE, DASHES, END_COLOURS, GREEN, PURPLE, SYMBOLS, VERMILLION, dress

CONDITIONS = (
    "one needle",
    "no marker",
    "a gap in the needle",
    "one distractor",
    "growing distractors",
    "needles as in training",
)
COLOURS = (BLUE, VERMILLION, GREEN, PURPLE)


def harder_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """A panel a kind of training rows: exact recall at one length by condition, narrow against wide window."""
    rows = with_training(table) if not table.empty else table
    if rows.empty:
        return missing(NOTHING)
    length = length if (rows["length"] == length).any() else int(rows["length"].max())
    rows = rows[rows["length"] == length]
    conditions = [name for name in CONDITIONS if name in set(rows["condition"])]
    kinds = _kinds(rows)
    figure = make_subplots(
        cols=len(kinds), subplot_titles=[f"trained on:<br>{kind}" for kind in kinds], shared_yaxes=True,
        horizontal_spacing=0.03,
    )  # fmt: skip
    for col, kind in enumerate(kinds, start=1):
        for window, colour, symbol in zip(_ends(rows), END_COLOURS, SYMBOLS, strict=False):
            mine = rows[(rows["trained_on"] == kind) & (rows["model.window"] == window)]
            look = {"name": f"window {window}", "colour": colour, "symbol": symbol, "legend": col == 1}
            add_bars(figure, mine, "condition", "exact", order=conditions, **look, row=1, col=col)
    figure.update_xaxes(range=[-0.04, 1.06], tickvals=[0, 0.5, 1])
    figure.update_xaxes(title=f"exact recall at {spell_length(length)} tokens", row=1, col=1)
    title = "A needle is easy to find while nothing else looks like one"
    return dress(
        figure,
        title=title,
        source=f"{runs_and_seeds(rows)}, {questions_asked(rows)}",
        height=180 + 56 * len(conditions),
    )


def growing_figure(table: pd.DataFrame) -> go.Figure:
    """Exact recall by length with distractors that grow with it, narrow window, a line a kind of training rows."""
    rows = with_training(table) if not table.empty else table
    rows = rows[rows["condition"] == "growing distractors"] if not rows.empty else rows
    if rows.empty:
        return missing(NOTHING)
    figure, kinds, ends = go.Figure(), _kinds(rows), _ends(rows)
    for i, (kind, colour) in enumerate(zip(kinds, COLOURS, strict=False)):
        mine = rows[(rows["trained_on"] == kind) & (rows["model.window"] == ends[0])]
        look = {"name": kind, "colour": colour, "dash": DASHES[i], "symbol": SYMBOLS[i]}
        add_seeds(figure, mine, "length", "exact", **look)
    length_axis(figure, rows["length"], title="input length (tokens, log scale)")
    figure.update_yaxes(range=[-0.04, 1.06], title="exact recall")
    reference_line(figure, 1 / rows["data.num_values"].iloc[0], "chance")
    every = int(rows["tokens_per_distractor"].iloc[0])
    title = f"One distractor every {every} tokens, window {ends[0]}: by what the model was trained on"
    return dress(figure, title=title, source=f"{runs_and_seeds(rows)}, {questions_asked(rows)}", height=420)


def _kinds(rows: pd.DataFrame) -> list[str]:
    found = set(rows["trained_on"])
    return [kind for kind in reversed(TRAINED_ON) if kind in found]


def _ends(rows: pd.DataFrame) -> tuple[int, int]:
    return int(rows["model.window"].min()), int(rows["model.window"].max())
