"""How panels are drawn: the marks of each kind, ranges and ticks of their axes, and the same in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lablib.core.stats import mean_interval
from lablib.viz.style import DASHES, SYMBOLS, TEXT, fold, log_ticks, rgba, spell, spell_length, text_width

if TYPE_CHECKING:
    from lablib.viz.chart import Panel

FEWEST = 5  # seeds that have an interval
FEW = 8  # places on a line up to which intervals are bars, not a band
DENSE = 24  # places on a line from which on its means have no marks of their own
# cividis: dark is little, light is much, in every vision
SCALE = ["#00224E", "#2A3F6D", "#575C6D", "#7D7C78", "#A59C74", "#CFB958", "#FDE737"]


class Spread(NamedTuple):
    """A mean with the ends of its interval or range."""

    estimate: float
    low: float
    high: float


class Look(NamedTuple):
    """How the marks of a name are drawn."""

    colour: str
    dash: str
    symbol: str


def looks(names: Sequence[str], colours: dict[str, str]) -> dict[str, Look]:
    """A colour, a dash and a symbol a name; panels without names have the first."""
    named = {name: Look(colours[name], DASHES[i % 6], SYMBOLS[i % 6]) for i, name in enumerate(names)}
    return {"": Look(*(next(iter(colours.values()), "#1F78C8"), DASHES[0], SYMBOLS[0]))} | named


def spread(values: pd.Series, *, geometric: bool = False) -> Spread:
    """The mean with its 95 % t interval; of fewer than five values with their range."""
    if geometric:
        return Spread(*(10**end for end in spread(np.log10(values))))
    found = mean_interval(values)
    return Spread(*found[:3]) if len(values) >= FEWEST else Spread(found.estimate, values.min(), values.max())


def means(rows: pd.DataFrame, at: str, measure: str, *, geometric: bool = False) -> pd.DataFrame:
    """By place, in order, the mean over seeds with the ends of its band."""
    rows = rows.dropna(subset=[measure])
    grouped = rows.groupby(at, sort=pd.api.types.is_numeric_dtype(rows[at]))[measure]
    found = {place: spread(values, geometric=geometric) for place, values in grouped}
    return pd.DataFrame(list(found.values()), index=list(found), columns=["estimate", "low", "high"])


def draw(figure: go.Figure, panel: Panel, looks: dict[str, Look], shown: set[str], place: dict) -> None:
    """Draw a panel in its place; `shown` collects the names that the legend has."""
    kinds = {"lines": _line, "bars": _bar, "plane": _plane, "points": _points, "heat": _heat}
    groups = panel.groups()
    for i, (name, rows) in enumerate(groups.items()):
        shared = {"legendgroup": name, **place}
        kinds[panel.kind](figure, panel, rows, name, looks[name], (i, len(groups)), shared, name not in shown)
        shown.update({name} - {""})
    for curve in panel.curves:
        figure.add_scatter(
            x=curve.x, y=curve.y, mode="lines", name=curve.name, showlegend=False, hoverinfo="name",
            line={"color": TEXT, "width": 1.2, "dash": "dot"}, **place,
        )  # fmt: skip
    if panel.own is not None and len(panel.own):
        mark = {"symbol": "diamond-open", "size": 11, "color": TEXT, "line": {"width": 2}}
        figure.add_scatter(
            x=panel.own[panel.x.column], y=panel.own[panel.y.column], mode="markers", marker=mark, showlegend=False,
            name="your own runs", customdata=panel.own["seed"],
            hovertemplate="seed %{customdata}: %{x}, %{y:.3f}<extra>yours</extra>", **place,
        )  # fmt: skip
    for level in panel.references:
        _reference(figure, panel, level, place)


def _reference(figure, panel, level, place) -> None:
    across, axis = level.axis == "x", panel.x if level.axis == "x" else panel.y
    line = {"line": {"dash": "dot", "color": TEXT, "width": 1.2}, "exclude_empty_subplots": False, **place}
    figure.add_vline(x=level.at, **line) if across else figure.add_hline(y=level.at, **line)
    at = np.log10(level.at) if axis.kind in ("log", "length") else level.at  # notes take the logarithm, lines do not
    where = {"x": at, "y": 0, "yref": "y domain"} if across else {"x": 1, "xref": "x domain", "y": at}
    figure.add_annotation(
        text=level.name, showarrow=False, font={"size": 11}, xanchor="right", yanchor="bottom" if across else "top",
        visible=bool(level.name), **where, **place,
    )  # fmt: skip


def _line(figure, panel, rows, name, look, place, shared, legend) -> None:
    x, y, faint, colour = panel.x.column, panel.y.column, name in panel.faint, look.colour
    found, rows = means(rows, x, y, geometric=panel.geometric), rows.dropna(subset=[y])
    if panel.y.kind == "log":
        found["low"] = found["low"].clip(lower=rows[y].min())
    few = len(found) <= FEW
    at, beside = list(found.index), rows[x]
    if few and place[1] > 1 and pd.api.types.is_numeric_dtype(panel.rows[x]):  # bars beside each other can be read
        at, beside = (_aside(panel, np.asarray(values), *place) for values in (at, beside))
    if not faint and not few and (found["high"] > found["low"]).any():
        figure.add_scatter(
            x=at + at[::-1], y=[*found["high"], *found["low"][::-1]], fill="toself", fillcolor=rgba(colour, 0.14),
            line={"width": 0}, mode="lines", hoverinfo="skip", showlegend=False, **shared,
        )  # fmt: skip
    _dots(
        figure,
        beside,
        rows[y],
        rows["seed"],
        name,
        look,
        shared,
        size=5 if few else 4 if len(at) < DENSE else 2,
        faint=faint,
    )
    figure.add_scatter(
        x=at, y=found["estimate"], mode="lines+markers" if len(at) < DENSE else "lines", name=name, showlegend=legend,
        opacity=0.4 if faint else 1, line={"color": colour, "width": 1.5 if faint else 2.5, "dash": look.dash},
        marker={"size": 6 if faint else 8, "symbol": look.symbol, "color": colour},
        error_y=_arms(found, colour) if few and not faint else None,
        hovertemplate="mean %{y:.3f}<extra>" + name + "</extra>", **shared,
    )  # fmt: skip


def _aside(panel: Panel, values: np.ndarray, place: int, number: int) -> np.ndarray:
    """Places on the x axis a little to the left or right, so that a line's bars do not hide another's."""
    log = panel.x.kind in ("log", "length")
    every, values = (np.log10(v) if log else v for v in (panel.rows[panel.x.column], values))
    moved = values + 0.03 * (place - (number - 1) / 2) / number * float(np.ptp(every))
    return 10**moved if log else moved


def _dots(figure, x, y, seeds, name, look, shared, *, size: int, faint: bool = False) -> None:
    mark = {"color": rgba(look.colour, 0.25 if faint else 0.5), "size": size, "symbol": look.symbol}
    figure.add_scatter(
        x=x, y=y, mode="markers", marker=mark, customdata=seeds, showlegend=False, name=name,
        hovertemplate="seed %{customdata}: %{x}, %{y:.3g}<extra>" + name + "</extra>", **shared,
    )  # fmt: skip


def _bar(figure, panel, rows, name, look, place, shared, legend) -> None:
    order = categories(panel)
    found, (i, number) = means(rows, panel.y.column, panel.x.column), place
    at, width = np.array([order.index(c) for c in found.index]) + (i - (number - 1) / 2) * 0.8 / number, 0.7 / number
    if panel.x.range is None or panel.x.range[0] <= 0:
        figure.add_bar(
            x=found["estimate"], y=at, orientation="h", width=width, marker={"color": rgba(look.colour, 0.3)},
            hoverinfo="skip", showlegend=False, **shared,
        )  # fmt: skip
    rows = rows.dropna(subset=[panel.x.column])
    beside = (rows["seed"] % 5 - 2) / 5 * width * 0.7  # so that equal seeds do not hide each other
    dots = np.array([at[list(found.index).index(c)] for c in rows[panel.y.column]]) + beside
    _dots(figure, rows[panel.x.column], dots, rows["seed"], name, look, shared, size=5)
    mark = {"symbol": "line-ns-open", "size": min(16, 26 * width), "color": look.colour, "line": {"width": 3}}
    figure.add_scatter(
        x=found["estimate"], y=at, mode="markers", name=name, marker=mark, showlegend=legend,
        error_x=_arms(found, look.colour), hovertemplate="mean %{x:.3f}<extra>" + name + "</extra>", **shared,
    )  # fmt: skip


def _plane(figure, panel, rows, name, look, place, shared, legend) -> None:
    x, y = panel.x.column, panel.y.column
    _dots(figure, rows[x], rows[y], rows["seed"], name, look, shared, size=6)
    across, up = (pd.DataFrame([spread(rows[column].dropna())]) for column in (x, y))
    figure.add_scatter(
        x=across["estimate"], y=up["estimate"], mode="markers", name=name, showlegend=legend,
        marker={"color": look.colour, "size": 13, "symbol": look.symbol}, error_x=_arms(across, look.colour),
        error_y=_arms(up, look.colour), hovertemplate="mean %{x:.3f}, %{y:.2f}<extra>" + name + "</extra>", **shared,
    )  # fmt: skip


def _points(figure, panel, rows, name, look, place, shared, legend) -> None:
    y = rows[panel.y.column]
    ends = [rows[column] for column in panel.spread]
    bar = {"array": ends[1] - y, "arrayminus": y - ends[0], "width": 0, "thickness": 1} if ends else None
    size = 7 + 1.5 * np.log2(rows[panel.size] / rows[panel.size].min()) if panel.size else 8
    figure.add_scatter(
        x=rows[panel.x.column], y=y, mode="markers", name=name, showlegend=legend, error_y=bar, customdata=rows["seed"],
        marker={"color": rgba(look.colour, 0.8), "symbol": look.symbol, "size": size, "line": {"width": 0}},
        hovertemplate="seed %{customdata}: %{x:.4g}, %{y:.4g}<extra>" + name + "</extra>", **shared,
    )  # fmt: skip


def _heat(figure, panel, rows, name, look, place, shared, legend) -> None:
    cells = rows.pivot_table(index=panel.y.column, columns=panel.x.column, values=panel.by, sort=True)
    low, high = panel.spread or (float(cells.min().min()), float(cells.max().max()))
    lengths = [spell_length(n) if panel.x.kind == "length" else str(n) for n in cells.columns]
    figure.add_heatmap(
        x=lengths, y=[f"{value:.0%}" for value in cells.index], z=cells.to_numpy(), zmin=low, zmax=max(high, low + 0.01),
        colorscale=[[i / 6, colour] for i, colour in enumerate(SCALE)], xgap=1, ygap=1, showscale=legend and not name,
        colorbar={"thickness": 10, "outlinewidth": 0}, hovertemplate="%{x}, %{y}: %{z:.2f}<extra></extra>", **shared,
    )  # fmt: skip


def _arms(found: pd.DataFrame, colour: str) -> dict:
    ends = {"array": found["high"] - found["estimate"], "arrayminus": found["estimate"] - found["low"]}
    return {"type": "data", "symmetric": False, "color": colour, "thickness": 1.5, "width": 3} | ends


# ---- axes


def height(panel: Panel) -> int:
    """Pixels that a panel needs: bars as many as they are, all else the same."""
    return 30 + len(categories(panel)) * (12 + 15 * len(panel.groups())) if panel.kind == "bars" else 300


def categories(panel: Panel) -> list:
    """The categories of bars, from top to bottom, in the order of the table."""
    return list(panel.y.ticks) or list(panel.rows[panel.y.column].unique())


def ranges(alike_y: Sequence[Panel], alike_x: Sequence[Panel]) -> tuple:
    """The ranges of x and y that hold all marks of the panels that share the axis; None where plotly finds its own."""
    return _range([(panel, panel.x) for panel in alike_x]), _range([(panel, panel.y) for panel in alike_y])


def _range(found: list[tuple[Panel, object]]) -> tuple[float, float] | None:
    panel, axis = found[0]
    if axis.range is not None:
        return axis.range
    if panel.kind == "heat" or not pd.api.types.is_numeric_dtype(panel.rows[axis.column]):
        return None
    values = [panel.rows[axis.column].dropna() for panel, _ in found]
    side = "y" if axis == panel.y else "x"
    values += [pd.Series([line.at for panel, _ in found for line in panel.references if line.axis == side])]
    values += [pd.Series(getattr(curve, side)) for panel, _ in found for curve in panel.curves]
    every = pd.concat([each.astype(float) for each in values if len(each)])
    if axis.kind in ("log", "length"):
        every = np.log10(every[every > 0])
    low, high = float(every.min()), float(every.max())
    room = 0.06 * (high - low) or 0.1 * (abs(high) or 1)
    ends = (min(0.0, low - room) if panel.kind == "bars" and low >= 0 else low - room, high + room)
    return tuple(10**end for end in ends) if axis.kind in ("log", "length") else ends


def axes(figure: go.Figure, panel: Panel, ranges: tuple, place: dict, *, nticks: int) -> None:
    """Titles, ranges and ticks of a panel's axes."""
    for axis, reach, update in ((panel.x, ranges[0], figure.update_xaxes), (panel.y, ranges[1], figure.update_yaxes)):
        shown = {
            "title": {"text": axis.title, "font": {"size": 13}, "standoff": 8},
            "automargin": "height+width",
            "tickangle": 0,
        }
        if axis.kind in ("log", "length") and panel.kind != "heat":
            shown |= {"type": "log", **_log(axis, reach, panel.rows)}
        elif panel.kind == "bars" and axis is panel.y:
            order = categories(panel)
            names = ["<br>".join(fold(str(name), 170, 12)) for name in order]
            shown |= {"tickvals": list(range(len(order))), "ticktext": names, "showgrid": False}
            shown |= {"range": [len(order) - 0.5, -0.5], "tickfont": {"size": 12}}
        elif reach is None:
            shown |= {"type": "category", "dtick": 2 if panel.kind == "heat" else 1, "tickfont": {"size": 11}}
            shown |= {"autorange": "reversed"} if panel.kind == "heat" and axis is panel.y else {}
        else:
            shown |= {"range": reach, "nticks": nticks} | ({"tickvals": axis.ticks} if axis.ticks else {})
        update(**shown, **place)


def _log(axis, reach: tuple[float, float], rows: pd.DataFrame) -> dict:
    ticks = list(axis.ticks) or (
        sorted(rows[axis.column].unique()) if axis.kind == "length" else log_ticks(reach[0], reach[1])
    )
    ticks = ticks[:: -(-len(ticks) // 7)] if axis.kind == "length" else ticks
    name = spell_length if axis.kind == "length" else spell
    return {"range": list(np.log10(reach)), "tickvals": ticks, "ticktext": [name(tick) for tick in ticks]}


def end_labels(panel: Panel, looks: dict[str, Look], reach: tuple, height: int, room: float) -> list[dict]:
    """Names beside the last means of lines, moved apart until none lies on another; none where they do not fit."""
    ends, log = {}, panel.y.kind == "log"
    for name, rows in panel.groups().items():
        last = float(means(rows, panel.x.column, panel.y.column)["estimate"].iloc[-1])
        low, high, last = np.log10([*reach, last]) if log else (*reach, last)
        ends[name] = (last - low) / (high - low)
    texts = {name: fold(name, room - 12, 12) for name in ends}
    if any(text_width(line, 12) > room for lines in texts.values() for line in lines):
        return []
    places, labels = (
        _apart({name: height * end for name, end in ends.items()}, {n: 16 * len(t) for n, t in texts.items()}),
        [],
    )
    for name, at in places.items():
        labels.append(
            {"text": "<br>".join(texts[name]), "x": 1, "xref": "paper", "xanchor": "left", "xshift": 5, "showarrow": False,
             "y": at / height, "yref": "paper", "yanchor": "middle", "align": "left",
             "font": {"size": 12, "color": looks[name].colour}, "opacity": 0.75 if name in panel.faint else 1}
        )  # fmt: skip
    return labels


def _apart(wanted: dict[str, float], sizes: dict[str, float]) -> dict[str, float]:
    """Places as near the wanted ones as sizes allow: blocks that touch move together."""
    blocks: list[tuple[list[str], float]] = []
    for name in sorted(wanted, key=wanted.get):
        blocks.append(([name], wanted[name]))
        while len(blocks) > 1 and _bottom(blocks[-1], sizes) < _bottom(blocks[-2], sizes) + _tall(blocks[-2][0], sizes):
            (lower, first), (upper, second) = blocks[-2:]
            middle = (first * len(lower) + second * len(upper)) / (len(lower) + len(upper))
            blocks[-2:] = [(lower + upper, middle)]
    placed = {}
    for block in blocks:
        at = _bottom(block, sizes)
        for name in block[0]:
            placed[name] = at + sizes[name] / 2
            at += sizes[name]
    return placed


def _tall(names: list[str], sizes: dict[str, float]) -> float:
    return sum(sizes[name] for name in names)


def _bottom(block: tuple[list[str], float], sizes: dict[str, float]) -> float:
    return block[1] - _tall(block[0], sizes) / 2


# ---- the same in words


def seeds(panel: Panel) -> Iterator[int]:
    """How many seeds each line, bar, mark or cell has."""
    for rows in panel.groups().values():
        if panel.kind == "lines":
            yield from rows.dropna(subset=[panel.y.column]).groupby(panel.x.column)["seed"].nunique()
        elif panel.kind == "bars":
            yield from rows.dropna(subset=[panel.x.column]).groupby(panel.y.column)["seed"].nunique()
        else:
            yield rows["seed"].nunique()


def spread_named(panels: Sequence[Panel], counts: Sequence[int]) -> str:
    """What bands and bars are."""
    kinds = {panel.kind for panel in panels}
    if kinds <= {"points", "heat"}:
        return "means over seeds" if "heat" in kinds else ""
    if max(counts) < 2:
        return "exploratory"
    if max(counts) < FEWEST:
        return "exploratory: mean and range, dots are seeds"
    mean = "geometric mean" if any(panel.geometric for panel in panels) else "mean"
    rest = f"; fewer than {FEWEST} seeds: their range, exploratory" if min(counts) < FEWEST else ""
    return f"{mean} and 95 % t interval, dots are seeds{rest}"


def described(panel: Panel) -> str:
    """A panel in words: what is drawn against what, and the numbers at the ends."""
    x, y = (axis.title.partition(" (")[0] or axis.column for axis in (panel.x, panel.y))
    head = f"{panel.title}: " if panel.title else ""
    if panel.kind == "heat":
        return f"{head}by {x} and {y}, from {panel.rows[panel.by].min():.2f} to {panel.rows[panel.by].max():.2f}."
    parts = []
    for name, rows in panel.groups().items():
        if panel.kind == "lines":
            found = means(rows, panel.x.column, panel.y.column)["estimate"]
            said = (
                " to ".join(f"{found.iloc[i]:.3g} at {_place(found.index[i])}" for i in (0, -1)) if len(found) else ""
            )
        elif panel.kind == "bars":
            found = means(rows, panel.y.column, panel.x.column)["estimate"]
            said = ", ".join(f"{value:.3g} {place}" for place, value in found.items())
        else:
            said = f"{rows[panel.y.column].mean():.3g} at {rows[panel.x.column].mean():.3g}"
        parts.append(f"{name} {said}".strip())
    return f"{head}{y} by {x}: " + "; ".join(parts) + "." if panel.kind != "bars" else f"{head}{x}: {'; '.join(parts)}."


def _place(place: object) -> str:
    return f"{place:,.6g}" if isinstance(place, (int, float, np.number)) else str(place)
