"""The figure of `ttt/steps`: what an outer step costs."""

import pandas as pd
import plotly.graph_objects as go

from lablib.viz.marks import NOTHING, add_bars, missing, runs_and_seeds
from lablib.viz.style import BLUE, dress


def steps_figure(table: pd.DataFrame) -> go.Figure:
    """CPU seconds of an outer step by order and chunk, the plain step first."""
    if table.empty:
        return missing(NOTHING)
    kind = table["order"] + ", b=" + table["chunk"].astype(str)
    rows, figure = table.assign(kind=kind.where(table["order"] != "none", "no inner loop")), go.Figure()
    names = list(rows["kind"].unique())
    add_bars(figure, rows, "kind", "step_seconds", order=names, name="outer step", colour=BLUE)
    figure.update_xaxes(title="CPU seconds of a step, forward and backward", rangemode="tozero")
    figure.update_layout(showlegend=False)
    text = f"{int(table['batch'].iloc[0])} texts of {int(table['length'].iloc[0])} tokens"
    source = f"{runs_and_seeds(rows, 'bar', 'kind')}, {text}, one thread"
    return dress(figure, title="What it costs to train through the loop", source=source, height=150 + 34 * len(names))
