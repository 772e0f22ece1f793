"""The figures of notebook 07: table in, plotly figure out, no torch."""

import inspect
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lablib.speed.summaries import SHAPE, crossing, named, over_causal, own_keys, with_selection
from lablib.speed.tiles import EDGE, FULL, SKIPPED, Tiling, Walker, tile_kinds, useful_share, walk
from lablib.viz.chart import Axis, Chart, Curve, Panel, Reference, dress, figure
from lablib.viz.style import AMBER, BLUE, GREEN, GREY, GRID, PINK, TEAL, VERMILLION, VIOLET, listing, spell_length
from lablib.viz.words import stores

MODE = "forward and backward"
COLOURS = {
    "blocks (banded)": BLUE, "SDPA with a dense mask": VERMILLION, "the definition": GREEN, "by chunk": AMBER,
    "gathered": PINK, "by chunk + selection": VIOLET, "block by block": TEAL, "causal SDPA": GREY,
}  # fmt: skip
ON_A_GPU = {
    "ours": GREEN, "flex_attention": VIOLET, "blocks (banded)": BLUE, "SDPA with a dense mask": VERMILLION,
    "ours, chunk-major": AMBER, "ours, query-major": PINK, "ours, chunk-major + selection": TEAL,
}  # fmt: skip
LIMITS = {"registers": ("registers a thread", 255), "shared": ("KiB of shared memory", 227)}


@figure
def roofline_figure(table: pd.DataFrame) -> Chart:
    """A mark is a provider on one length, larger for longer texts. To the right: the operator's FLOPs over its bytes.
    Up: the operator's FLOPs over the provider's seconds. A provider that does more work, or copies, lies lower.

    The roof is the machine: its copy, then its matrix product, measured in the same processes (Roofline, CACM 2009).
    """
    x, y = Axis("intensity", "FLOPs a compulsory byte", "log"), Axis("speed", "FLOP/s (log scale)", "log")
    panels, best = [], {}
    for operator, rows in named(table).groupby("operator", sort=False):
        rows = rows[rows["mode"] == (MODE if (rows["mode"] == MODE).any() else "forward")]
        marks = rows.assign(intensity=rows["flops"] / rows["bytes"], speed=rows["flops"] / rows["seconds"])
        flops, moved = rows["flops_per_second"].median(), rows["bytes_per_second"].median()
        ends = np.geomspace(min(marks["intensity"].min(), flops / moved) / 2, marks["intensity"].max() * 2, 60)
        roof = Curve(list(ends), list(np.minimum(flops, moved * ends)), "the machine")
        by_provider = {"kind": "points", "by": "provider", "size": "shape.time", "colours": COLOURS}
        panels.append(Panel(rows=marks, x=x, y=y, **by_provider, title=operator, curves=[roof]))
        best[operator] = (marks["speed"] / np.minimum(flops, moved * marks["intensity"])).max()
    return Chart(
        panels=panels,
        title="At most " + listing([f"{share:.0%} of the roof ({name})" for name, share in best.items()]),
        drawn_from=f"{_measured(table)}; {MODE} where there is one; dotted: the roof",
    )  # fmt: skip


@figure
def bench_figure(table: pd.DataFrame) -> Chart | None:
    """Seconds over those of causal attention by tokens, a line a provider; below 1 skipping pays. "By chunk" is the
    reading alone; the line with the selection adds the seconds of choosing, on lengths where they were timed.
    """
    if (rows := named(over_causal(with_selection(table)))).empty:
        return None
    said = {}
    for operator, of in rows[rows["mode"] == "forward"].groupby("operator", sort=False):
        times = of.groupby(["provider", "shape.time"])["times"].mean()
        pays = min((crossing(times[name]) for name in times.index.unique("provider")), key=lambda pair: pair[1])
        said[operator] = _from(*pays)
    return Chart(
        panels=_panels(rows, COLOURS), columns=2, drawn_from=f"{_measured(rows)} (dots), their mean and range",
        title="Forward, skipping pays " + listing([f"{pays} ({name})" for name, pays in said.items()]),
    )  # fmt: skip


@figure
def gpu_figure(table: pd.DataFrame) -> Chart | None:
    """Time on the GPU over that of causal attention by tokens; below 1 skipping pays. *Ours* are the Triton kernels:
    of the window, and of chosen chunks in two orders, forward also with the time of choosing.
    """
    rows = named(over_causal(with_selection(own_keys(table))))
    rows = rows[rows["provider"].isin(ON_A_GPU)]
    if rows.empty:
        return None
    times = rows[rows["mode"] == "forward"].groupby(["provider", "shape.time"])["times"].mean()
    asked = {"a window pays": "ours", "chosen chunks, with the choosing, pay": "ours, chunk-major + selection"}
    said = [f"{what} {_from(*crossing(times[name]))}" for what, name in asked.items() if name in times.index]
    return Chart(
        panels=_panels(rows, ON_A_GPU), columns=2,
        title=f"On a GPU, each head with keys of its own: {'; '.join(said)}" if said else "No kernel was timed",
        drawn_from=f"{stores(rows)} runs, {rows['dtype'].iloc[0]}, heads of 64; medians of calls in one process",
    )  # fmt: skip


def _panels(rows: pd.DataFrame, colours: dict[str, str]) -> list[Panel]:
    """Times of causal attention by tokens, an operator and mode a panel."""
    return [
        Panel(
            rows=of, x=Axis("shape.time", "tokens (log scale)", "length"), by="provider",
            y=Axis("times", "times the seconds (log scale)", "log"), title=f"{operator}, {mode}",
            references=[Reference(1, "causal attention")], colours=colours,
        )
        for (operator, mode), of in rows.groupby(["operator", "mode"], sort=False)
    ]  # fmt: skip


def _measured(rows: pd.DataFrame) -> str:
    """Whose runs, of what, how often repeated."""
    times = sorted(set(rows.groupby(["operator", "mode", "provider", *SHAPE])["seed"].nunique()))
    return f"{stores(rows)} runs, {rows['device'].iloc[0]}, {rows['dtype'].iloc[0]}; {listing(times)} repetitions"


def _from(slower: float, faster: float) -> str:
    """From which length on, as far as lengths were measured."""
    if math.isinf(faster):
        return f"at no length up to {spell_length(slower)}"
    return f"from between {spell_length(slower)} and {spell_length(faster)} tokens on" if slower else "at all lengths"


@figure
def compiled_figure(table: pd.DataFrame) -> Chart:
    """Registers a thread and shared memory by kernel and width of a head; dotted the limit."""
    rows = table.assign(shared=table["shared"] / 1024, name=table["kernel"] + ", " + table["dim"].astype(str))
    spilling = rows.loc[rows["stack"] > 0, "name"].nunique()
    same = {"rows": rows, "kind": "bars", "y": Axis("name")}
    kernels, widths = rows["kernel"].nunique(), listing(sorted(rows["dim"].unique()))
    return Chart(
        panels=[Panel(x=Axis(measure, title), references=[Reference(limit, "limit", "x")], **same)
                for measure, (title, limit) in LIMITS.items()],
        title=f"{spilling or 'None'} of {kernels} kernels, each for heads of {widths}, spill registers",
        drawn_from=f"{stores(rows)} runs, compiled for sm_90 in bf16",
    )  # fmt: skip


def tiles_figure(cut: Tiling, walker: Walker, program: int) -> go.Figure:
    """Tiles of queries down, tiles of keys to the right; framed is what one program visits."""
    kinds = tile_kinds(cut)
    program = min(program, kinds.shape[0 if walker == "queries" else 1] - 1)
    visited = walk(cut, walker, program)
    loaded, edge = int((kinds != SKIPPED).sum()), int((kinds == EDGE).sum())
    paint = [GRID, AMBER, BLUE]
    heat = {
        "type": "heatmap", "z": kinds, "x": np.arange(kinds.shape[1]) * cut.keys, "showlegend": False,
        "y": np.arange(kinds.shape[0]) * cut.queries, "showscale": False, "zmin": SKIPPED, "zmax": FULL, "xgap": 1,
        "ygap": 1, "colorscale": [[(i + j) / 3, paint[i]] for i in range(3) for j in (0, 1)],
        "hovertemplate": "queries from %{y}, keys from %{x}<extra></extra>",
    }  # fmt: skip
    along, across = (visited, [program] * len(visited)) if walker == "queries" else ([program] * len(visited), visited)
    corners = (-0.45, -0.45), (0.45, -0.45), (0.45, 0.45), (-0.45, 0.45), (-0.45, -0.45), (math.nan, math.nan)
    tiles = np.stack([along, across], axis=1)[:, None] + np.array(corners)  # a closed line around each, and a gap
    x, y = (tiles.reshape(-1, 2) * (cut.keys, cut.queries)).T
    frames = {
        "type": "scatter", "x": x, "y": y, "mode": "lines", "line": {"color": PINK, "width": 2},
        "hoverinfo": "skip", "showlegend": False,
    }  # fmt: skip
    starts = {
        axis: {"tickvals": [i * size for i in range(0, count, -(-count // 8))]}
        for axis, size, count in zip("yx", (cut.queries, cut.keys), kinds.shape, strict=True)
    }
    layout = {
        "xaxis": starts["x"] | {"title": {"text": "first key of the tile"}},
        "yaxis": starts["y"] | {"title": {"text": "first query of the tile"}, "autorange": "reversed"},
    }
    seen = f"blue: all pairs visible, amber: some (an edge); {useful_share(cut):.0%} of the loaded pairs are visible"
    return dress(
        [heat, frames], layout, height=400, lines=3, title=f"{loaded} of {kinds.size} tiles loaded, {edge} on an edge",
        source=f"{seen}; framed: what program {program} visits", caption=inspect.getdoc(tiles_figure),
    )  # fmt: skip
