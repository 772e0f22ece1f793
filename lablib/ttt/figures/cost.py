"""The figure of `ttt/cost`: what one more token costs behind a long text."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, length_axis, missing
from lablib.viz.style import dress, look

PANELS = {"prefill_seconds": "prefill", "decode_seconds": "decode"}


def cost_figure(table: pd.DataFrame) -> go.Figure:
    """CPU milliseconds a token, prefilled and decoded, by the tokens before it."""
    if table.empty:
        return missing(NOTHING)
    figure = make_subplots(cols=2, subplot_titles=list(PANELS.values()), horizontal_spacing=0.1)
    for col, measure in enumerate(PANELS, start=1):
        for i, (name, rows) in enumerate(table.groupby("name", sort=False)):
            mean, (colour, dash, symbol) = 1e3 * rows.groupby("length")[measure].mean(), look(i).values()
            figure.add_scatter(
                x=mean.index, y=mean, name=str(name), legendgroup=str(name), mode="lines+markers",
                line={"color": colour, "dash": dash}, marker={"symbol": symbol, "size": 8}, showlegend=col == 1,
                row=1, col=col,
            )  # fmt: skip
        length_axis(figure, sorted(table["length"].unique())[::2], title="tokens before (log scale)", row=1, col=col)
    figure.update_yaxes(type="log", dtick=1)
    figure.update_yaxes(title="CPU ms a token (log scale)", row=1, col=1)
    kind = " and ".join(f"{store} runs" for store in sorted(table["store"].unique()))
    source = f"{kind}, one thread, medians of {int(table['repeats'].max())}; long prefixes are caches of random numbers"
    return dress(figure, title="What one more token costs", source=source, height=440)
