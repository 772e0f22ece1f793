"""The figure of `ttt/ablations`: mean losses, a bar a change."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.bars import loss_bars


def ablations_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss by change, with a dot for every seed."""
    return loss_bars(table, title="One choice of the inner loop at a time")
