"""The figure of `ttt/toy`: figure 2 of the paper, on a language whose best loss is known."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import positions_figure
from lablib.ttt.summaries import at_best_rate


def toy_figure(table: pd.DataFrame) -> go.Figure:
    """Loss at every position, each arm at its best learning rate, naive reading at its best inner rate."""
    return positions_figure(at_best_rate(table), title="A bigram that learns while it reads")
