"""The figure of `ttt/ladder`: mean losses, a bar a step of the ladder."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.bars import loss_bars


def ladder_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss by step of the ladder, with a dot for every seed."""
    return loss_bars(table, title="From binding keys and values to the loss that counts")
