"""The figure of `longcontext/tuning`: the two end windows under other learning rates, widths and initialisations."""

import pandas as pd
import plotly.graph_objects as go

from lablib.viz.marks import NOTHING, add_bars, missing, questions_asked, runs_and_seeds, spell_length
from lablib.viz.style import END_COLOURS, SYMBOLS, dress


def tuning_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """Exact recall at one length by tuning, narrow against wide window: a dot a seed, a bar the mean."""
    rows = table[table["phase"] == "test"] if not table.empty else table
    if rows.empty:
        return missing(NOTHING)
    length = length if (rows["length"] == length).any() else int(rows["length"].max())
    rows = rows[rows["length"] == length].sort_values(["model.retrieval_init", "model.width", "train.optim.lr"])
    setting = (
        rows["model.retrieval_init"] + ", width " + rows["model.width"].astype(str) + ", rate "
        + (rows["train.optim.lr"] * 1000).map("{:g}e-3".format)
    )  # fmt: skip
    rows, settings = rows.assign(setting=setting), list(setting.unique())
    figure = go.Figure()
    ends = (int(rows["model.window"].min()), int(rows["model.window"].max()))
    for window, colour, symbol in zip(ends, END_COLOURS, SYMBOLS, strict=False):
        mine = rows[rows["model.window"] == window]
        look = {"name": f"window {window}", "colour": colour, "symbol": symbol}
        add_bars(figure, mine, "setting", "exact", order=settings, **look)
    figure.update_xaxes(range=[-0.02, 1.04], title=f"exact recall at {spell_length(length)} tokens")
    source = f"{runs_and_seeds(rows)}, {questions_asked(rows)}"
    title = "Does the ranking hang on how the models were tuned?"
    return dress(figure, title=title, source=source, height=150 + 44 * len(settings))
