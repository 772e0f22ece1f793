"""The map of tiles: which are loaded, which need a mask, and which one program visits."""

import numpy as np
import plotly.graph_objects as go

from lablib.speed.tiles import EDGE, FULL, SKIPPED, Tiling, Walker, tile_kinds, useful_share, walk
from lablib.viz.style import BLUE, ORANGE, VERMILLION, dress

COLOURS = {SKIPPED: "#f2f2f2", EDGE: ORANGE, FULL: BLUE}
VISITED = 3


def tiles_figure(cut: Tiling, walker: Walker, program: int) -> go.Figure:
    """Tiles of queries down, tiles of keys to the right; framed is what one program visits."""
    kinds = tile_kinds(cut)
    program = min(program, kinds.shape[0 if walker == "queries" else 1] - 1)
    visited = walk(cut, walker, program)
    steps = [(0.0, COLOURS[SKIPPED]), (0.33, COLOURS[SKIPPED]), (0.33, COLOURS[EDGE]), (0.67, COLOURS[EDGE])]
    figure = go.Figure(
        go.Heatmap(
            z=kinds, x=np.arange(kinds.shape[1]) * cut.keys, y=np.arange(kinds.shape[0]) * cut.queries,
            zmin=SKIPPED, zmax=FULL, colorscale=[*steps, (0.67, COLOURS[FULL]), (1.0, COLOURS[FULL])], showscale=False,
            xgap=1, ygap=1, hovertemplate="queries from %{y}, keys from %{x}<extra></extra>",
        )
    )  # fmt: skip
    along, across = (visited, [program] * len(visited)) if walker == "queries" else ([program] * len(visited), visited)
    figure.add_scatter(
        x=[place * cut.keys for place in along], y=[place * cut.queries for place in across], mode="markers",
        marker={"symbol": "square-open", "size": 14, "color": VERMILLION, "line": {"width": 2}}, name="one program",
        showlegend=False,
    )  # fmt: skip
    figure.update_yaxes(autorange="reversed", title="first query of the tile")
    figure.update_xaxes(title="first key of the tile")
    masked = int((kinds == EDGE).sum())
    source = (
        f"loaded {int((kinds != SKIPPED).sum())} of {kinds.size} tiles, masked {masked}; of their pairs "
        f"{useful_share(cut):.0%} are of use; framed: what program {program} visits"
    )
    return dress(figure, title="Only the band is loaded", source=source, height=520)
