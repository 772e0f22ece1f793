"""The figure of `ttt/controls`: mean losses, a bar a control."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.bars import loss_bars


def controls_figure(table: pd.DataFrame) -> go.Figure:
    """Mean loss by control, with a dot for every seed."""
    return loss_bars(table, title="What the inner loop needs")
