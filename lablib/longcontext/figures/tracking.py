"""The figure of `longcontext/tracking`: can two look-ups follow each other?"""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.doubts import with_chain_model
from lablib.viz.marks import NOTHING, add_seeds, length_axis, missing, questions_asked, reference_line, runs_and_seeds
from lablib.viz.style import BLUE, DASHES, GREY, ORANGE, PURPLE, SYMBOLS, VERMILLION, dress

COLOURS = (BLUE, VERMILLION, ORANGE, PURPLE, GREY)


def tracking_figure(table: pd.DataFrame) -> go.Figure:
    """Exact recall of chains by length, a line a model; a dotted line where any value in sight would do."""
    if table.empty:
        return missing(NOTHING)
    rows = with_chain_model(table)
    rows = rows[rows["phase"] == "test"]
    figure = go.Figure()
    for i, name in enumerate(rows["chain_model"].unique()):
        look = {"name": name, "colour": COLOURS[i], "dash": DASHES[i], "symbol": SYMBOLS[i]}
        add_seeds(figure, rows[rows["chain_model"] == name], "length", "exact", **look)
    length_axis(figure, rows["length"], title="input length (tokens, log scale)")
    figure.update_yaxes(range=[-0.04, 1.06], title="exact recall")
    chains = int(rows["data.num_pairs"].iloc[0])
    reference_line(figure, 1 / chains, f"one of the {chains} values in sight")
    source = f"{runs_and_seeds(rows, 'line', 'chain_model')}, {questions_asked(rows)}"
    return dress(figure, title="Two look-ups in a row: one group of HSA layers, or two", source=source, height=450)
