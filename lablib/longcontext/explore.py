"""The explorers of notebooks 00 and 01: what attention costs, and who can read what."""

from numbers import Real

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from lablib.longcontext.figures.start import LENGTH as BY_LENGTH
from lablib.ops.attention import window_mask
from lablib.ops.hsa import select_chunks
from lablib.viz.chart import Axis, Chart, Panel, draw, dress
from lablib.viz.style import BLUE, CRIMSON, GRID, RETRIEVAL, TEXT, VERMILLION, WINDOW
from lablib.viz.widgets import Explorer

LENGTH = 64
NEEDLE = 10  # the position of the value that the last token asks for
FUTURE, UNSEEN, BY_WINDOW, RETRIEVED, BOTH = -1, 0, 1, 2, 3
READS = {
    FUTURE: "lies before the needle",
    UNSEEN: "does not read the needle",
    BY_WINDOW: "reads the needle by its window",
    RETRIEVED: "retrieves the needle",
    BOTH: "reads the needle both ways",
}


def chunk_scores(length: int, chunk: int) -> np.ndarray:
    """Scores (query, chunk) of an imagined trained model: noise of spread 1, and +5 for the chunk of the needle."""
    scores = np.random.default_rng(chunk).normal(size=(length, -(-length // chunk)))
    scores[:, NEEDLE // chunk] += 5
    return scores


def attention_pattern(length: int, window: int, chunk: int, top_k: int, scores: np.ndarray) -> np.ndarray:
    """What each query (row) reads of each key (column): nothing, by window, by retrieval, or by both.

    By the operators of the model: `window_mask`, and `select_chunks` on landmarks that give these scores. The future
    is FUTURE. A chunk can be retrieved only when it is complete: from position (c + 1) * chunk on.
    """
    number = scores.shape[1]
    asking = torch.as_tensor(scores)[None, None] * number**0.5  # the selection divides by the root of the width
    landmarks = torch.eye(number, dtype=torch.float64)[None, None]
    found = select_chunks(asking, landmarks, torch.arange(length), size=chunk, top_k=top_k)
    chosen = torch.zeros(length, number, dtype=torch.bool).scatter_(
        1, found.chunks[0, 0], found.scores[0, 0].isfinite()
    )
    retrieved = chosen.repeat_interleave(chunk, dim=1)[:, :length]
    pattern = window_mask(length, window) * BY_WINDOW + retrieved * RETRIEVED
    return torch.where(window_mask(length, length), pattern, FUTURE).numpy()


def pattern_figure(window: int = 8, chunk: int = 8, top_k: int = 2, query: int = 60) -> go.Figure:
    """The attention pattern of one SWA + HSA layer, the row of one query, and the scores of the chunks it sees."""
    scores = chunk_scores(LENGTH, chunk)
    pattern = attention_pattern(LENGTH, window, chunk, top_k, scores)
    paint = ["rgba(0,0,0,0)", GRID, WINDOW, RETRIEVAL, BLUE]
    heat = {
        "type": "heatmap", "z": pattern, "zmin": -1.5, "zmax": 3.5, "xgap": 0.5, "ygap": 0.5, "showlegend": False,
        "colorscale": [[(i + j) / 5, paint[i]] for i in range(5) for j in (0, 1)],
        "colorbar": {"tickvals": [0, 1, 2, 3], "ticktext": ["not read", "window", "retrieved", "both"], "thickness": 10,
                     "tickfont": {"size": 12}, "outlinewidth": 0},
        "hovertemplate": "query %{y} reads key %{x}<extra></extra>",
    }  # fmt: skip
    shapes = [_upright(edge - 0.5, color=TEXT, width=0.5) for edge in range(chunk, LENGTH, chunk)]
    shapes += [_upright(NEEDLE, color=VERMILLION, dash="dot", width=2)]
    framed = {"x0": -0.5, "x1": query + 0.5, "y0": query - 0.5, "y1": query + 0.5}
    shapes += [{"type": "rect", "line": {"color": CRIMSON}} | framed]
    needle = {"x": NEEDLE, "y": -0.5, "yshift": 10, "text": "needle", "showarrow": False, "font": {"color": VERMILLION}}
    visible = query // chunk
    best = np.argsort(-scores[query, :visible])[:top_k] if visible else []
    named = ", ".join(f"{int(c)} (score {scores[query, c]:.1f})" for c in best) or "none yet"
    axis = {"constrain": "domain", "showgrid": False}
    layout = {
        "shapes": shapes,
        "annotations": [needle],
        "xaxis": axis | {"title": {"text": "key position"}},
        "yaxis": axis | {"title": {"text": "query position"}, "autorange": "reversed", "scaleanchor": "x"},
    }
    return dress(
        [heat], layout, height=400, lines=4, title=f"Query {query} {READS[int(pattern[query, NEEDLE])]}",
        source=f"window {window}, chunks of {chunk}: {visible} complete, it reads {named}",
        caption="Who reads what: queries down, keys to the right. Grey is the window, amber are retrieved chunks, "
        "blue is both; framed is the query.",
    )  # fmt: skip


def _upright(x: Real, **line) -> dict:
    return {"type": "line", "x0": x, "x1": x, "y0": -0.5, "y1": LENGTH - 0.5, "line": line}


def pattern_explorer() -> Explorer:
    """Sliders for window, chunk, top-k and the query's position over `pattern_figure`."""
    return Explorer(
        pattern_figure,
        {"window": [1, 4, 8, 16, 32, 64], "chunk": [4, 8, 16], "top_k": [1, 2, 4, 8], "query": list(range(LENGTH))},
        start={"window": 8, "chunk": 8, "top_k": 2, "query": 60},
    )


def pairs_figure(window: int = 512) -> go.Figure:
    """Query-key pairs by input length, for full causal attention and for a window."""
    lengths = 2 ** np.arange(6, 21)
    inside = np.minimum(lengths, window)
    full, banded = lengths * (lengths + 1) / 2, lengths * inside - inside * (inside - 1) / 2
    pairs = {"full attention": full, f"window {window}": banded}
    rows = pd.concat([pd.DataFrame({"length": lengths, "pairs": y, "name": name}) for name, y in pairs.items()])
    axis = Axis("pairs", "query-key pairs (log scale)", "log", (1e3, 1e12))
    panel = Panel(rows=rows.assign(seed=0, store="own"), x=BY_LENGTH, y=axis, by="name",
                  colours={f"window {window}": WINDOW})  # fmt: skip
    return draw(Chart(
        panels=[panel],
        title=f"At a million tokens window {window} looks at {full[-1] / banded[-1]:,.0f} times fewer pairs",
        drawn_from="counted, not measured",
        caption="Query-key pairs by input length. Full attention rises with slope 2; a window follows it up "
        "to its width and then rises with slope 1.",
    ))  # fmt: skip


def pairs_explorer() -> Explorer:
    """A slider for the window over `pairs_figure`."""
    return Explorer(pairs_figure, {"window": [64, 256, 512, 1024, 4096, 16_384, 65_536]}, start={"window": 512})
