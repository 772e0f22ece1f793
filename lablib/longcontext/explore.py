"""The explorers of notebooks 00 and 01: what attention costs, and who can read what."""

import numpy as np
import plotly.graph_objects as go

from lablib.viz.marks import length_axis
from lablib.viz.style import BLUE, GREY, ORANGE, VERMILLION, dress
from lablib.viz.widgets import Explorer

LENGTH = 64
NEEDLE = 10  # the position of the value that the last token asks for
FUTURE, UNSEEN, WINDOW, RETRIEVED, BOTH = -1, 0, 1, 2, 3


def chunk_scores(length: int, chunk: int, needle: int = NEEDLE) -> np.ndarray:
    """Scores (query, chunk) of an imagined trained model: noise of spread 1, and +5 for the chunk of the needle."""
    number = -(-length // chunk)
    scores = np.random.default_rng(chunk).normal(size=(length, number))
    scores[:, needle // chunk] += 5
    return scores


def attention_pattern(length: int, window: int, chunk: int, top_k: int, scores: np.ndarray) -> np.ndarray:
    """What each query (row) reads of each key (column): nothing, by window, by retrieval, or by both.

    The future is FUTURE. A chunk can be retrieved only when it is complete: from position (c + 1) * chunk on.
    """
    query, key = np.arange(length)[:, None], np.arange(length)[None, :]
    in_window = (key <= query) & (key > query - window)
    complete = query >= (np.arange(scores.shape[1]) + 1) * chunk
    masked = np.where(complete, scores, -np.inf)
    rank = (-masked).argsort(axis=1).argsort(axis=1)
    chosen = (rank < top_k) & complete
    retrieved = chosen[:, np.arange(length) // chunk]
    pattern = in_window * WINDOW + retrieved * RETRIEVED
    return np.where(key <= query, pattern, FUTURE)


def pattern_figure(window: int = 8, chunk: int = 8, top_k: int = 2, query: int = 60) -> go.Figure:
    """The attention pattern of one SWA + HSA layer, the row of one query, and the scores of the chunks it sees."""
    scores = chunk_scores(LENGTH, chunk)
    pattern = attention_pattern(LENGTH, window, chunk, top_k, scores)
    steps = np.linspace(0, 1, 6)
    colours = ["#ffffff", "#f0f0f0", BLUE, ORANGE, "#7A4F9A"]
    scale = [[float(edge), colour] for i, colour in enumerate(colours) for edge in steps[i : i + 2]]
    figure = go.Figure(
        go.Heatmap(
            z=pattern, colorscale=scale, zmin=-1.5, zmax=3.5, xgap=0.5, ygap=0.5,
            colorbar={
                "tickvals": [0, 1, 2, 3], "ticktext": ["not read", "window", "retrieved", "both"], "thickness": 14,
                "tickangle": 0, "tickfont_size": 12,
                "orientation": "h", "x": 0.5, "y": 0, "yref": "container", "yanchor": "bottom",
            },
            hovertemplate="query %{y} reads key %{x}<extra></extra>",
        )
    )  # fmt: skip
    visible = query // chunk
    reads = int(pattern[query, NEEDLE])
    words = {
        FUTURE: "lies before",
        UNSEEN: "does not read",
        WINDOW: "reads by its window",
        RETRIEVED: "retrieves",
        BOTH: "reads both ways",
    }
    verdict = words[reads]
    figure.add_shape(type="rect", x0=-0.5, x1=query + 0.5, y0=query - 0.5, y1=query + 0.5, line={"color": "#111"})
    figure.add_shape(
        type="line", x0=NEEDLE, x1=NEEDLE, y0=-0.5, y1=LENGTH - 0.5, line={"color": VERMILLION, "dash": "dot"}
    )
    figure.add_annotation(x=NEEDLE, y=-0.5, yshift=12, text="needle", showarrow=False, font={"color": VERMILLION})
    for edge in range(chunk, LENGTH, chunk):
        figure.add_shape(type="line", x0=edge - 0.5, x1=edge - 0.5, y0=-0.5, y1=LENGTH - 0.5,
                         line={"color": GREY, "width": 0.5})  # fmt: skip
    best = np.argsort(-scores[query, :visible])[:top_k] if visible else []
    named = ", ".join(f"{int(c)} (score {scores[query, c]:.1f})" for c in best) or "none yet"
    dress(
        figure,
        title=f"Query {query} {verdict} the needle",
        source=f"window {window}, chunks of {chunk}: {visible} complete, it reads {named}",
        height=560,
    )
    figure.update_xaxes(title_text="key position", constrain="domain", showgrid=False)
    figure.update_yaxes(title_text="query position", constrain="domain", showgrid=False)
    figure.update_yaxes(autorange="reversed", scaleanchor="x")
    return figure


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
    pairs = {
        "full attention": lengths * (lengths + 1) / 2,
        f"window {window}": lengths * inside - inside * (inside - 1) / 2,
    }
    figure = go.Figure()
    for (name, y), colour, dash in zip(pairs.items(), (VERMILLION, BLUE), ("solid", "dash"), strict=True):
        figure.add_scatter(x=lengths, y=y, name=name, mode="lines+markers", line={"color": colour, "dash": dash})
    length_axis(figure, lengths[::2], title="input length (tokens, log scale)")
    figure.update_yaxes(type="log", title="query-key pairs (log scale)", exponentformat="power")
    saved = pairs["full attention"][-1] / pairs[f"window {window}"][-1]
    title = f"At a million tokens a window of {window} looks at {saved:,.0f} times fewer pairs"
    return dress(figure, title=title, source="counted, not measured", height=400)


def pairs_explorer() -> Explorer:
    """A slider for the window over `pairs_figure`."""
    return Explorer(pairs_figure, {"window": [64, 256, 512, 1024, 4096, 16_384, 65_536]}, start={"window": 512})
