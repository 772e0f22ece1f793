"""The figure of `ttt/taught`: recall when all have first learnt to look."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.recall import recall_figure


def taught_figure(table: pd.DataFrame) -> go.Figure:
    """Share of right answers by distance, a line a peer."""
    return recall_figure(table)
