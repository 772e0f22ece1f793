"""The figure of `longcontext/schedules`: how short, how wide and how dense may a warm-up be?"""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.figures.warmup import plane


def schedules_figure(table: pd.DataFrame) -> go.Figure:
    """Local loss against recall, a mark a warm-up."""
    return plane(table, 16_384, title="Warm-ups by length, window and top-k")
