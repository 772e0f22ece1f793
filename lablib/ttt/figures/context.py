"""The figure of `ttt/context`: what further context is worth to each peer."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import stretches_figure


def context_figure(table: pd.DataFrame) -> go.Figure:
    """Loss by stretch of positions, far beyond the length of the training texts."""
    length = None if table.empty else int(table["length"].max())
    return stretches_figure(table, title="Reading on: who still learns beyond the training length?", trained=length)
