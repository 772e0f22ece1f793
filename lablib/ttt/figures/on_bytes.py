"""The figure of `ttt/on_bytes`: the toy on real bytes, whose best loss nobody knows."""

import pandas as pd
import plotly.graph_objects as go

from lablib.ttt.figures.lines import positions_figure


def on_bytes_figure(table: pd.DataFrame) -> go.Figure:
    """Loss at every position, naive reading at its best inner rate."""
    return positions_figure(table, title="The same blocks on bytes of Python's own sources")
