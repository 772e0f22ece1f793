"""A figure in words: what it is drawn from, what its bands and bars are, and its alternative text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from lablib.core.stats import FEWEST_SEEDS
from lablib.viz.marks import means
from lablib.viz.style import short

if TYPE_CHECKING:
    from lablib.viz.chart import Chart, Panel


def source(chart: Chart) -> str:
    """Recorded or own runs, how many seeds, what the chart adds, and what bands, bars and dots are."""
    if chart.drawn_from:
        return chart.drawn_from
    stores = pd.concat([panel.rows["store"] for panel in chart.panels]).unique()
    counts = [number for panel in chart.panels for number in _seeds(panel)] or [0]
    span = " to ".join(str(n) for n in sorted({min(counts), max(counts)}))
    runs = f"{' and '.join(f'{store} runs' for store in sorted(stores))}, {span} seed{'s' * (span != '1')}"
    own = any(panel.own is not None and len(panel.own) for panel in chart.panels)
    parts = [runs, chart.source, _spread(chart, counts), "open diamonds: your own runs" * own]
    return "; ".join(part for part in parts if part)


def stores(rows: pd.DataFrame) -> str:
    """Where the rows are from: "recorded", or "own and recorded"."""
    return " and ".join(sorted(rows["store"].unique()))


def _seeds(panel: Panel) -> Iterator[int]:
    """How many seeds each line, bar, mark or column of cells has at each place."""
    x, y = panel.x.column, panel.y.column
    at, measure = {"lines": (x, y), "bars": (y, x), "heat": (x, panel.by)}.get(panel.kind, (None, x))
    for rows in panel.groups().values():
        rows = rows.dropna(subset=[measure])
        yield from rows.groupby(at)["seed"].nunique() if at else [rows["seed"].nunique()]


def _spread(chart: Chart, counts: list[int]) -> str:
    kinds = {panel.kind for panel in chart.panels}
    if kinds <= {"points", "heat"}:
        return "means over seeds" if "heat" in kinds else ""
    mean = "geometric mean" if any(panel.geometric for panel in chart.panels) else "mean"
    if max(counts) < FEWEST_SEEDS:
        return f"exploratory: {mean} and range, dots are seeds" if max(counts) > 1 else "exploratory"
    few = f"; fewer than {FEWEST_SEEDS} seeds: their range, exploratory" if min(counts) < FEWEST_SEEDS else ""
    return f"{mean} and 95 % t interval, dots are seeds{few}"


def alt(chart: Chart) -> str:
    """The title, and panel by panel the means at the ends of lines, of bars and of marks."""
    return " ".join([f"{chart.title}.", *(_described(panel) for panel in chart.panels)])


def _described(panel: Panel) -> str:
    x, y = (axis.title.partition(" (")[0].strip() or axis.column for axis in (panel.x, panel.y))
    said = "; ".join(f"{name} {_numbers(panel, rows)}".strip() for name, rows in panel.groups().items())
    what = {"bars": x, "heat": f"by {x} and {y}"}.get(panel.kind, f"{y} by {x}")
    return f"{panel.title}{', ' * bool(panel.title)}{what}: {said}."


def _numbers(panel: Panel, rows: pd.DataFrame) -> str:
    x, y = panel.x.column, panel.y.column
    if panel.kind == "heat":
        return f"from {short(rows[panel.by].min())} to {short(rows[panel.by].max())}"
    if panel.kind == "bars":
        return ", ".join(f"{short(mean)} {place}" for place, mean in means(rows, y, x)["estimate"].items())
    if panel.kind == "lines":
        found = means(rows, x, y)["estimate"]
        return " to ".join(f"{short(found.iloc[i])} at {_place(found.index[i])}" for i in (0, -1) if len(found))
    return f"{rows[y].mean():.3g} at {rows[x].mean():.3g}"


def _place(place: object) -> str:
    return f"{place:,.6g}" if isinstance(place, (int, float, np.number)) else str(place).replace("<br>", " ")
