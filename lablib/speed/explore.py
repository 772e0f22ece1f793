"""The explorer of notebook 07: how a window is cut into tiles."""

import plotly.graph_objects as go

from lablib.speed.figures import tiles_figure
from lablib.speed.tiles import Tiling
from lablib.viz.widgets import Explorer

TIME = 256


def tiles_explorer() -> Explorer:
    """Sliders for the window, the tiles, who walks, and the token whose program is shown."""

    def draw(window: int, query_tile: int, key_tile: int, a_program_has: str, of_token: int) -> go.Figure:
        cut = Tiling(time=TIME, window=window, queries=query_tile, keys=key_tile)
        if a_program_has == "a query tile":
            return tiles_figure(cut, "queries", of_token // query_tile)
        return tiles_figure(cut, "keys", of_token // key_tile)

    sliders = {
        "window": [1, 16, 32, 64, 128, 256],
        "query_tile": [8, 16, 32],
        "key_tile": [8, 16, 32],
        "a_program_has": ["a query tile", "a key tile"],
        "of_token": list(range(0, TIME, 32)),  # by the largest tile: each step is another program
    }
    start = {"window": 64, "query_tile": 16, "key_tile": 16, "of_token": 160}
    return Explorer(draw, sliders, start=start)
