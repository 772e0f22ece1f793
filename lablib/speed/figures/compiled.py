"""The figure of `speed/compiled`: what a program of each kernel takes of a multiprocessor."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.viz.marks import NOTHING, missing
from lablib.viz.style import BLUE, dress

PANELS = {"registers": ("registers a thread", 255), "shared": ("KiB of shared memory", 227)}


def compiled_figure(table: pd.DataFrame) -> go.Figure:
    """Registers and shared memory by kernel, the limit of sm_90 dotted."""
    if table.empty:
        return missing(NOTHING)
    rows = table.drop_duplicates(["kernel", "dim"]).assign(shared=lambda rows: rows["shared"] / 1024)
    names = rows["kernel"] + ", " + rows["dim"].astype(str)
    titles = [title for title, _ in PANELS.values()]
    figure = make_subplots(cols=2, subplot_titles=titles, shared_yaxes=True, horizontal_spacing=0.05)
    for col, (measure, (_, limit)) in enumerate(PANELS.items(), start=1):
        bars = {"marker": {"color": BLUE, "opacity": 0.6}, "showlegend": False}
        figure.add_bar(y=names, x=rows[measure], orientation="h", **bars, row=1, col=col)
        figure.add_vline(x=limit, line={"dash": "dot", "color": "#555", "width": 1}, row=1, col=col)
    figure.update_yaxes(autorange="reversed", automargin=True)
    spills = "no spills" if not rows["stack"].any() else f"{int((rows['stack'] > 0).sum())} spill"
    source = (
        f"{' and '.join(sorted(table['store'].unique()))} runs, compiled for sm_90 in bf16, {spills}; dotted: limit"
    )
    return dress(figure, title="What a program takes", source=source, height=150 + 30 * len(names))
