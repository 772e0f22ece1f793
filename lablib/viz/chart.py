"""A figure is a declaration: panels of four kinds, the sentence that they show, and a caption.

`draw` gives every figure of the lab what it needs to be read: a title that states the finding, a line that says what it
is drawn from and what bands and bars are, names, units, numbers on logarithmic axes, references, alternative text.
"""

import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from typing import Any, Literal, NamedTuple

import pandas as pd
import plotly.graph_objects as go

from lablib.viz import axes, marks, words
from lablib.viz.layout import NARROW, domains, fitted
from lablib.viz.style import GRID, TEXT, colours_of, short, text_width

NOTHING = "No arms in this table yet: run the experiment, or `lab record` for the recorded ones."
MOST_NAMED_AT_ENDS = 10
GROUND = {"template": "none", "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)"}


class Axis(NamedTuple):
    """A column of a table on an axis: its title with the unit, its scale, and where given its range and ticks.

    `values` and `length` are logarithmic too, with ticks at the values of the table; lengths are spelled 64, 4K, 1M.
    """

    column: str
    title: str = ""
    kind: Literal["linear", "log", "values", "length", "category"] = "linear"
    range: tuple[float, float] | None = None
    ticks: tuple[float, ...] = ()


class Reference(NamedTuple):
    """A dotted level across a panel with its name: chance, the best possible, where a training ends."""

    at: Real
    name: str
    axis: Literal["x", "y"] = "y"


class Curve(NamedTuple):
    """A thin line that no run has drawn: the machine's roof, or where forecast and count agree."""

    x: Sequence[float]
    y: Sequence[float]
    name: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Rows of a table as marks; a group of rows with one name in the column `by` is a line, a colour of bars, a mark.

    kind       lines   means over seeds by x, a band, a dot a seed
               bars    means over seeds by y, a category, a dot a seed; groups side by side
               plane   two measures against each other: the means, a dot a seed
               points  a mark a row; `spread` names columns with the ends of vertical bars
               heat    the mean of `by` in cells of two categories
    names      the groups, in order; those in `faint` are context
    own        rows of the reader's own runs, drawn hollow over the others
    """

    rows: pd.DataFrame
    x: Axis
    y: Axis
    by: str = ""
    kind: Literal["lines", "bars", "plane", "points", "heat"] = "lines"
    title: str = ""
    names: Sequence[str] = ()
    colours: Mapping[str, str] = field(default_factory=dict)
    faint: Collection[str] = ()
    references: Sequence[Reference] = ()
    curves: Sequence[Curve] = ()
    own: pd.DataFrame | None = None
    size: str = ""  # the column that points are larger by
    spread: tuple[str, str] | tuple[()] = ()
    scale: tuple = ()  # the ends of the colours of a heat map
    geometric: bool = False  # means and intervals of the logarithms

    def groups(self) -> dict[str, pd.DataFrame]:
        """The rows of each name that have both measures, in order; names without such rows are left out."""
        if not self.by or self.kind == "heat":
            return {"": self.rows}
        names = self.names or self.rows[self.by].unique()
        used = {self.by, self.x.column, self.y.column, self.size, *self.spread, "seed"} & set(self.rows)
        rows = self.rows[sorted(used)].dropna(subset=[self.x.column, self.y.column])  # tables are wide
        found = {str(name): rows[rows[self.by] == name] for name in names}
        return {name: rows for name, rows in found.items() if len(rows)}


@dataclass(frozen=True, kw_only=True)
class Chart:
    """Panels side by side, `columns` a row; `title` states the finding, `source` adds facts to what `draw` says.

    The caption is the docstring of the function that declares the chart, and `caption` behind it.
    """

    panels: Sequence[Panel]
    title: str
    caption: str = ""
    source: str = ""
    drawn_from: str = ""  # in place of what `draw` says of runs and seeds
    columns: int = 0
    height: int = 0  # of a row of panels, in pixels; 0: by what is in it
    widths: Sequence[float] | None = None
    lines: int = 0  # lines that the head has at least: the figure of an explorer keeps its height


def one_panel(*, title: str, source: str = "", caption: str = "", height: int = 0, lines: int = 0, **panel) -> Chart:
    """A chart of one panel; `panel` holds the fields of `Panel`, but for its title."""
    return Chart(panels=[Panel(**panel)], title=title, source=source, caption=caption, height=height, lines=lines)


def figure(declare: Callable[..., Chart | None]) -> Callable[..., go.Figure]:
    """Draws what a function declares of a table; of an empty table, or where it declares None, says what is missing."""

    @functools.wraps(declare)
    def drawn(table: pd.DataFrame, *args, **more) -> go.Figure:
        chart = None if table.empty else declare(table, *args, **more)
        if chart is None:
            return missing(NOTHING)
        said = inspect.getdoc(declare).partition("\n\n")[0].replace("\n", " ")
        return draw(replace(chart, caption=f"{said} {chart.caption}".strip()))

    return drawn


def facets(rows: pd.DataFrame, column: str, values: Sequence = (), title: str = "{}", **panel) -> list[Panel]:
    """The same panel for every value of a column; `title` names it. Facets may be more than three panels."""
    found = {value: rows[rows[column] == value] for value in (values if len(values) else rows[column].unique())}
    return [Panel(rows=mine, title=title.format(value), **panel) for value, mine in found.items() if len(mine)]


def torn(panel: Panel) -> tuple[list[Panel], list[float] | None]:
    """A plane in two panels where more than half of its width would be empty; and their shares of the width."""
    means = panel.rows.groupby(panel.by)[panel.x.column].mean().sort_values()
    gaps = means.diff()
    if len(means) < 4 or gaps.max() < 0.4 * (means.iloc[-1] - means.iloc[0]):
        return [panel], None
    far = set(means.index[means >= means[gaps.idxmax()]])
    parts = []
    for right, x in ((False, panel.x), (True, panel.x._replace(title=" "))):
        rows, own = (None if t is None else t[t[panel.by].isin(far) == right] for t in (panel.rows, panel.own))
        parts.append(replace(panel, rows=rows, own=own, x=x))
    return parts, [0.68, 0.32]


def extremes(rows: pd.DataFrame, by: str, measure: str, what: str, *, low_first: bool = False) -> str:
    """A title: what has the highest mean and what the lowest."""
    means = rows.groupby(by, sort=False)[measure].mean().dropna().sort_values(ascending=low_first, kind="stable")
    said = [f"{means.index[i]}: {short(means.iloc[i])}" for i in (0, -1)]
    return f"{what}. {'; '.join(said)}" if len(means) > 1 else f"{what}. {said[0]}"


def draw(chart: Chart) -> go.Figure:
    """The figure of a declaration; `layout.meta` holds caption and alternative text."""
    panels, columns = chart.panels, chart.columns or len(chart.panels)
    height = chart.height or max(map(axes.height, panels))
    names = list(dict.fromkeys(name for panel in panels for name in panel.groups() if name))
    colours = colours_of(names, {name: colour for panel in panels for name, colour in panel.colours.items()})
    same_y, shown, labels = len({panel.y for panel in panels}) == 1, set(), []
    places = domains(len(panels), columns, chart.widths, 0.035 if same_y else 0.24 / columns, height)
    traces, layout = [], {"shapes": [], "annotations": [], "barmode": "overlay"}
    for i, panel in enumerate(panels):
        number = str(i + 1) if i else ""
        place = {"xaxis": f"x{number}", "yaxis": f"y{number}", "showlegend": False}
        place |= {"showscale": not i} if panel.kind == "heat" else {}
        traces += [place | trace for trace in marks.traces(panel, colours, shown)]
        for level in panel.references:
            line, name = marks.reference(
                level, getattr(panel, level.axis).kind in marks.LOGS, number, bars=panel.kind == "bars"
            )
            layout["shapes"].append(line)
            layout["annotations"].append(name)
        ticks = min(7, max(2, int(10 * (places[i][0][1] - places[i][0][0]))))
        for side, other, domain in zip("xy", "yx", places[i], strict=True):
            ends = axes.reach([each for each in panels if getattr(each, side) == getattr(panel, side)], side)
            layout[f"{side}axis{number}"] = axes.axis(panel, side, ends, nticks=6 if side == "y" else ticks)
            layout[f"{side}axis{number}"] |= {"domain": domain, "anchor": f"{other}{number}"}
        if same_y and i % columns:
            layout[f"yaxis{number}"] |= {"title": {}, "showticklabels": False}
        if i + columns < len(panels) and panels[i + columns].x == panel.x:
            layout[f"xaxis{number}"] |= {"title": {}}
        if len(panels) == 1 and panel.kind == "lines" and 1 < len(names) <= MOST_NAMED_AT_ENDS and panel.own is None:
            labels = axes.end_labels(panel, colours, ends, height)
    layout["annotations"] += labels
    return dress(
        traces, layout, title=chart.title, source=words.source(chart), caption=chart.caption, alt=words.alt(chart),
        height=height, heads=[panel.title for panel in panels], columns=columns, lines=chart.lines,
        names=[] if labels or len(shown) < 2 else [name for name in names if name in shown],
        right=max((text_width(line, 12) for label in labels for line in label["text"].split("<br>")), default=0) + 18,
    )  # fmt: skip


def dress(
    traces: list[dict[str, Any]], layout: dict[str, Any], *, title: str, source: str, caption: str = "", alt: str = "",
    height: int = 300, heads: Sequence[str] = ("",), columns: int = 1, lines: int = 0, names: Sequence[str] = (),
    right: Real = 18,
) -> go.Figure:  # fmt: skip
    """The lab's look on a figure: transparent ground, text that reads on white and on dark, and what `fit` needs.

    `height` is that of a row of panels; `names` are those of the legend, if there is one.
    """
    axis = {"gridcolor": GRID, "linecolor": TEXT, "tickcolor": TEXT, "showline": True, "ticks": "outside"}
    for part in [part for part in layout if part.startswith(("xaxis", "yaxis"))]:
        named = {"font": {"size": 13}} | layout[part].get("title", {})
        layout[part] = axis | {"zeroline": False} | layout[part] | {"title": named}
    layout |= GROUND | {
        "hoverlabel": {"font": {"size": 12}}, "showlegend": bool(names),
        "font": {"family": "Helvetica, Arial, sans-serif", "size": 13, "color": TEXT},
        "modebar": {"remove": ["sendChartToCloud"]},  # nothing is sent anywhere
        "meta": {"title": title, "source": source, "caption": caption, "alt": alt or f"{title}. {caption}",
                 "plot": height, "heads": list(heads), "columns": columns, "lines": lines, "names": list(names),
                 "right": right},
    }  # fmt: skip
    for trace in traces:
        trace["showlegend"] = bool(names) and trace["showlegend"]
    return go.Figure(traces, fitted(layout, NARROW))


def missing(text: str) -> go.Figure:
    """An empty figure that says what is missing and how to make it."""
    empty = go.Figure(layout=GROUND | {"height": 220, "font": {"color": TEXT}, "meta": {"caption": text, "alt": text}})
    empty.update_layout(xaxis={"visible": False}, yaxis={"visible": False})
    place = {"x": 0.5, "y": 0.5, "xref": "paper", "yref": "paper"}
    return empty.add_annotation(text=text, showarrow=False, font={"size": 15}, **place)
