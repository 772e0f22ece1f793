"""The figure of `speed/gpu`."""

import pandas as pd
import plotly.graph_objects as go

from lablib.speed.figures.roofline import roofline_figure


def gpu_figure(table: pd.DataFrame) -> go.Figure:
    """The roofline of every operator."""
    return roofline_figure(table, title="What a GPU makes of it")
