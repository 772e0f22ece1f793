"""The figures of `longcontext/far`: recall by depth and length as in the paper, and by length with every seed."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.recall import recall_by_length, whole_readers
from lablib.viz.marks import NOTHING, add_seeds, length_axis, missing, runs_and_seeds, spell_length
from lablib.viz.style import BLUE, DASHES, GREEN, RAMP, SYMBOLS, VERMILLION, dress

TASKS = ("one needle", "six needles, two asked", "growing distractors")
COLOURS = (BLUE, VERMILLION, GREEN)
SCALE = [[i / (len(RAMP) - 1), colour] for i, colour in enumerate(RAMP)]


def far_figure(table: pd.DataFrame) -> go.Figure:
    """A panel a task and haystack: exact recall by length and depth, the mean over seeds (arXiv 2511.23319, Fig. 4)."""
    rows = whole_readers(table) if not table.empty else table
    if rows.empty:
        return missing(NOTHING)
    tasks = [task for task in TASKS if task in set(rows["task"])]
    haystacks = list(rows["haystack"].unique())
    figure = make_subplots(
        rows=len(tasks), cols=len(haystacks), shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.04,
        vertical_spacing=0.12,
        subplot_titles=[f"{task.partition(',')[0]}<br>{name}" for task in tasks for name in haystacks],
    )  # fmt: skip
    lengths = sorted(rows["length"].unique())
    for row, task in enumerate(tasks, start=1):
        for col, haystack in enumerate(haystacks, start=1):
            mine = rows[(rows["task"] == task) & (rows["haystack"] == haystack)]
            cells = mine.pivot_table(index="depth", columns="length", values="exact").reindex(columns=lengths)
            figure.add_heatmap(
                x=[spell_length(n) for n in lengths], y=list(cells.index), z=cells.to_numpy(), zmin=0, zmax=1,
                colorscale=SCALE, colorbar={"title": "exact"}, showscale=row == 1 and col == 1, xgap=1, ygap=1,
                hovertemplate="%{x} tokens, depth %{y:.0%}: %{z:.2f}<extra></extra>", row=row, col=col,
            )  # fmt: skip
            figure.update_xaxes(type="category", row=row, col=col)
    figure.update_yaxes(range=[1, 0], tickvals=[0, 0.5, 1], tickformat=".0%")
    figure.update_yaxes(title="depth", col=1)
    figure.update_xaxes(title="input length (tokens)", row=len(tasks))
    title = f"Needles found at {spell_length(lengths[0])} to {spell_length(lengths[-1])} tokens"
    return dress(figure, title=title, source=_source(rows), height=140 + 240 * len(tasks))


def length_figure(table: pd.DataFrame) -> go.Figure:
    """A panel a haystack: exact recall over all depths by length, a line a task, every seed."""
    found = whole_readers(table) if not table.empty else table
    if found.empty:
        return missing(NOTHING)
    rows, haystacks = recall_by_length(found), list(found["haystack"].unique())
    figure = make_subplots(
        cols=len(haystacks), subplot_titles=[f"{name} haystack" for name in haystacks], shared_yaxes=True,
        horizontal_spacing=0.05,
    )  # fmt: skip
    lengths = sorted(rows["length"].unique())
    for col, haystack in enumerate(haystacks, start=1):
        for i, task in enumerate(TASKS):
            mine = rows[(rows["haystack"] == haystack) & (rows["task"] == task)]
            look = {"name": task, "colour": COLOURS[i], "dash": DASHES[i], "symbol": SYMBOLS[i], "legend": col == 1}
            add_seeds(figure, mine, "length", "exact", **look, row=1, col=col)
        length_axis(figure, lengths[::2], title="input length (tokens, log scale)", row=1, col=col)
    figure.update_yaxes(range=[-0.04, 1.06])
    figure.update_yaxes(title="exact recall", col=1)
    return dress(figure, title="Exact recall by length, over all depths", source=_source(found), height=430)


def _source(rows: pd.DataFrame) -> str:
    asked = f"{int(rows['questions'].max())} questions a task, {int(rows['strata'].iloc[0])} depths"
    return f"{runs_and_seeds(rows, 'length', 'length')}, {asked}"
