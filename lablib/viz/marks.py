"""The marks of each kind of panel: means with their intervals, and a dot for every seed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from lablib.core.stats import FEWEST_SEEDS, Interval, mean_interval
from lablib.viz.style import BLUE, DASHES, SYMBOLS, TEXT, rgba, spell_length

if TYPE_CHECKING:
    from lablib.viz.chart import Panel, Reference

FEW = 8  # places on a line up to which intervals are bars, not a band
LOGS = ("log", "values", "length")  # kinds of axes
DENSE = 24  # places on a line from which on its means have no marks of their own
DOTTED = {"color": TEXT, "width": 1.2, "dash": "dot"}
# cividis: dark is little, light is much, in every vision
SCALE = ["#00224E", "#2A3F6D", "#575C6D", "#7D7C78", "#A59C74", "#CFB958", "#FDE737"]


class Group(NamedTuple):
    """The rows of one name in a panel, and how they are drawn: as number `place` of `number` names."""

    panel: Panel
    rows: pd.DataFrame
    name: str
    colour: str
    place: int
    number: int
    style: int  # of dash and symbol
    legend: bool  # whether its marks stand for it there

    def trace(self, kind: str = "scatter", **more) -> dict[str, Any]:
        return {"type": kind, "name": self.name, "legendgroup": self.name} | more

    @property
    def faint(self) -> bool:
        return self.name in self.panel.faint

    def mark(self, **more) -> dict[str, Any]:
        return {"color": self.colour, "symbol": SYMBOLS[self.style % len(SYMBOLS)], "line": {"width": 0}} | more


def spread(values: np.ndarray | pd.Series, *, geometric: bool = False) -> Interval:
    """The mean with its 95 % t interval; of fewer than five values with their range."""
    if geometric:
        *ends, seeds = spread(np.log10(values))
        return Interval(*(10**end for end in ends), seeds)
    mean = mean_interval(values)
    return mean if mean.seeds >= FEWEST_SEEDS else mean._replace(low=float(values.min()), high=float(values.max()))


def means(rows: pd.DataFrame, at: str, measure: str, *, geometric: bool = False) -> pd.DataFrame:
    """By place, in order, the mean over seeds with the ends of its band."""
    rows = rows[[at, measure]].dropna(subset=[measure])
    grouped = rows.groupby(at, sort=pd.api.types.is_numeric_dtype(rows[at]))[measure]
    found = {place: spread(values.to_numpy(), geometric=geometric) for place, values in grouped}
    return pd.DataFrame(list(found.values()), index=list(found), columns=Interval._fields)


def traces(panel: Panel, colours: dict[str, str], shown: set[str]) -> Iterator[dict[str, Any]]:
    """The marks of a panel; `colours` are those of the whole figure, `shown` collects the names of the legend."""
    kinds = {"lines": _line, "bars": _bar, "plane": _plane, "points": _points, "heat": _heat}
    groups, order = panel.groups(), list(colours)
    for i, (name, rows) in enumerate(groups.items()):
        style = order.index(name) if name in colours else 0
        colour = colours.get(name) or next(iter(colours.values()), BLUE)
        yield from kinds[panel.kind](Group(panel, rows, name, colour, i, len(groups), style, name not in shown))
        shown.update({name} - {""})
    for curve in panel.curves:
        yield {"type": "scatter", "x": curve.x, "y": curve.y, "mode": "lines", "name": curve.name, "line": DOTTED}
    if panel.own is not None and len(panel.own):
        yield {
            "type": "scatter", "x": panel.own[panel.x.column], "y": panel.own[panel.y.column], "mode": "markers",
            "marker": {"symbol": "diamond-open", "size": 11, "color": TEXT, "line": {"width": 2}},
            "customdata": panel.own["seed"], "name": "your own runs",
            "hovertemplate": "seed %{customdata}: %{x}, %{y:.3f}<extra>yours</extra>",
        }  # fmt: skip


def reference(level: Reference, log: bool, number: str, *, bars: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """A dotted line across the panel of a number, and its name: of bars, which begin at the left, behind the line."""
    side, other = ("x", "y") if level.axis == "x" else ("y", "x")
    refs = {f"{side}ref": f"{side}{number}", f"{other}ref": f"{other}{number} domain"}
    ends = {f"{side}0": level.at, f"{side}1": level.at, f"{other}0": 0, f"{other}1": 1}
    place = {side: np.log10(level.at) if log else level.at, other: int(side == "y")}  # only notes take logarithms
    note = {"text": level.name, "showarrow": False, "font": {"size": 11}, "xanchor": "left" if bars else "right"}
    note |= {"yanchor": "bottom" if side == "x" else "top"}
    return {"type": "line", "line": DOTTED} | ends | refs, note | place | refs


def _line(group: Group) -> Iterator[dict[str, Any]]:
    panel, x, y, faint = group.panel, group.panel.x.column, group.panel.y.column, group.faint
    found, rows = means(group.rows, x, y, geometric=panel.geometric), group.rows[[x, y, "seed"]].dropna(subset=[y])
    if panel.y.kind == "log":
        found["low"] = found["low"].clip(lower=rows[y].min())
    at, few, dense = found.index, len(found) <= FEW, len(found) >= DENSE
    dots = rows[x]
    if few and group.number > 1 and pd.api.types.is_numeric_dtype(dots):
        at, dots = (_aside(group, np.asarray(values, float)) for values in (at, dots))
    if not faint:  # empty where there are bars, so that an explorer has the same traces whatever its sliders say
        band = found.iloc[: 0 if few else None]
        around = {"x": [*band.index, *band.index[::-1]], "y": [*band["high"], *band["low"][::-1]], "line": {"width": 0}}
        yield group.trace(**around, fill="toself", mode="lines", fillcolor=rgba(group.colour, 0.14), hoverinfo="skip")
    yield _dots(group, dots, rows[y], rows["seed"], size=5 if few else 2 if dense else 4)
    line = {"color": group.colour, "width": 1.5 if faint else 2.5, "dash": DASHES[group.style % len(DASHES)]}
    yield group.trace(
        x=at, y=found["estimate"], mode="lines" if dense else "lines+markers", showlegend=group.legend, line=line,
        opacity=0.4 if faint else 1, marker=group.mark(size=6 if faint else 8),
        error_y=_ends(found, group.colour) if few and not faint else {"visible": False},
        hovertemplate="mean %{y:.3g}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _aside(group: Group, values: np.ndarray) -> np.ndarray:
    """Places on the x axis a little to the left or right, so that a line's bars do not hide another's."""
    log, every = group.panel.x.kind in LOGS, group.panel.rows[group.panel.x.column]
    every, values = (np.log10(every), np.log10(values)) if log else (every, values)
    moved = values + 0.03 * (group.place - (group.number - 1) / 2) / group.number * float(np.ptp(every))
    return 10**moved if log else moved


def _dots(group: Group, x, y, seeds, *, size: int) -> dict[str, Any]:
    return group.trace(
        x=x, y=y, mode="markers", customdata=seeds,
        marker=group.mark(size=size, color=rgba(group.colour, 0.25 if group.faint else 0.5)),
        hovertemplate="seed %{customdata}: %{x}, %{y:.3g}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def categories(panel: Panel) -> list:
    """The categories of bars, from top to bottom, in the order of the table."""
    return list(panel.y.ticks) or list(panel.rows[panel.y.column].unique())


def _bar(group: Group) -> Iterator[dict[str, Any]]:
    panel, order = group.panel, categories(group.panel)
    found, rows = means(group.rows, panel.y.column, panel.x.column), group.rows.dropna(subset=[panel.x.column])
    width, shift = 0.7 / group.number, (group.place - (group.number - 1) / 2) * 0.8 / group.number
    at = np.array([order.index(category) + shift for category in found.index])
    if panel.x.range is None or panel.x.range[0] <= 0:
        pale = {"color": rgba(group.colour, 0.3)}
        yield group.trace("bar", x=found["estimate"], y=at, orientation="h", width=width, hoverinfo="skip", marker=pale)
    beside = shift + (rows["seed"] % 5 - 2) / 5 * width * 0.7  # so that equal seeds do not hide each other
    dots = np.array([order.index(category) for category in rows[panel.y.column]]) + beside
    yield _dots(group, rows[panel.x.column], dots, rows["seed"], size=5)
    mark = {"symbol": "line-ns-open", "size": min(16, 26 * width), "color": group.colour, "line": {"width": 3}}
    yield group.trace(
        x=found["estimate"], y=at, mode="markers", marker=mark, showlegend=group.legend,
        error_x=_ends(found, group.colour), hovertemplate="mean %{x:.3g}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _plane(group: Group) -> Iterator[dict[str, Any]]:
    x, y = (group.rows[axis.column] for axis in (group.panel.x, group.panel.y))
    yield _dots(group, x, y, group.rows["seed"], size=6)
    across, up = (pd.DataFrame([spread(values.dropna())]) for values in (x, y))
    yield group.trace(
        x=across["estimate"], y=up["estimate"], mode="markers", showlegend=group.legend, marker=group.mark(size=13),
        error_x=_ends(across, group.colour), error_y=_ends(up, group.colour),
        hovertemplate="mean %{x:.3g}, %{y:.2f}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _points(group: Group) -> Iterator[dict[str, Any]]:
    panel, rows = group.panel, group.rows
    y, ends = rows[panel.y.column], [rows[column] for column in panel.spread]
    bar = {"array": ends[1] - y, "arrayminus": y - ends[0], "width": 0, "thickness": 1} if ends else None
    size = 7 + 1.5 * np.log2(rows[panel.size] / rows[panel.size].min()) if panel.size else 8
    yield group.trace(
        x=rows[panel.x.column], y=y, mode="markers", showlegend=group.legend, error_y=bar, customdata=rows["seed"],
        marker=group.mark(size=size, opacity=0.8),
        hovertemplate="seed %{customdata}: %{x:.4g}, %{y:.4g}<extra>%{fullData.name}</extra>",
    )  # fmt: skip


def _heat(group: Group) -> Iterator[dict[str, Any]]:
    panel = group.panel
    cells = panel.rows.pivot_table(index=panel.y.column, columns=panel.x.column, values=panel.by, sort=True)
    low, high = panel.scale or (float(cells.min().min()), float(cells.max().max()))
    yield group.trace(
        "heatmap", x=[spell_length(n) for n in cells.columns], y=[f"{value:.0%}" for value in cells.index],
        z=cells.to_numpy(), zmin=low, zmax=max(high, low + 0.01), xgap=1, ygap=1,
        colorscale=[[i / 6, colour] for i, colour in enumerate(SCALE)],
        colorbar={"thickness": 10, "outlinewidth": 0}, hovertemplate="%{x}, %{y}: %{z:.2f}<extra></extra>",
    )  # fmt: skip


def _ends(found: pd.DataFrame, colour: str) -> dict[str, Any]:
    ends = {"array": found["high"] - found["estimate"], "arrayminus": found["estimate"] - found["low"]}
    return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 3, "visible": True} | ends
