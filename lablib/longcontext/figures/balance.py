"""The figure of `longcontext/balance`: retrieval against reasoning, by how the mixture shares them out."""

import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.figures.steered import recall_bars
from lablib.viz.style import BLUE, VERMILLION

MEASURES = {
    "exact": ("retrieval: one look-up", BLUE, "circle"),
    "exact_reasoning": ("reasoning: two look-ups", VERMILLION, "square"),
}


def balance_figure(table: pd.DataFrame, length: int = 16_384) -> go.Figure:
    """Exact recall of needles and of chains at a length, two bars a recipe and a dot a seed."""
    return recall_bars(table, length, MEASURES, title="Retrieval and reasoning in one mixture")
