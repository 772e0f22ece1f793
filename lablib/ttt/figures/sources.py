"""The figure of `ttt/sources`: the same on the bytes of Python's sources."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import stretches_figure


def sources_figure(table: pd.DataFrame) -> go.Figure:
    """Loss by stretch of positions."""
    length = None if table.empty else int(table["length"].max())
    return stretches_figure(table, title="On bytes of Python's own sources", trained=length)
