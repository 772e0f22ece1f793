"""The figures of `ttt/toy` and `ttt/bytes`: figure 2 of the paper, on a language whose best loss is known, on bytes."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import positions_figure
from lablib.ttt.summaries import at_best_rate


def toy_figure(table: pd.DataFrame) -> go.Figure:
    """Loss at every position, each arm at its best learning rate, naive reading at its best inner rate."""
    return positions_figure(at_best_rate(table), title="A bigram that learns while it reads")


def bytes_figure(table: pd.DataFrame) -> go.Figure:
    """The same on bytes."""
    return positions_figure(at_best_rate(table), title="The same on bytes of Python's own sources")
