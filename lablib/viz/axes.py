"""Ranges that the marks fill, ticks with their numbers, and names at the ends of lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lablib.viz.marks import LOGS, categories, means
from lablib.viz.style import fold, log_ticks, spell, spell_length, text_width

if TYPE_CHECKING:
    from lablib.viz.chart import Axis, Panel

ROOM = 150  # pixels that names at the ends of lines may take


def height(panel: Panel) -> int:
    """Pixels that a panel needs: bars as many as they are, all else the same."""
    return 30 + len(categories(panel)) * (12 + 15 * len(panel.groups())) if panel.kind == "bars" else 300


def reach(panels: Sequence[Panel], side: str) -> tuple | None:
    """The range that holds all marks of panels that share their axis x or y; None where it is of categories."""
    axis, log = getattr(panels[0], side), getattr(panels[0], side).kind in LOGS
    if axis.range is not None:
        return axis.range
    if panels[0].kind == "heat" or not pd.api.types.is_numeric_dtype(panels[0].rows[axis.column]):
        return None
    every = pd.concat([pd.Series(values, dtype=float).dropna() for panel in panels for values in _marks(panel, side)])
    every = np.log10(every[every > 0]) if log else every
    if every.empty:
        return None
    low, high = float(every.min()), float(every.max())
    room = 0.06 * (high - low) or 0.1 * (abs(high) or 1)
    low = min(0.0, low) if panels[0].kind == "bars" else low
    below = room if low or log else room / 3  # so that a mark at the end is whole
    ends = (low if panels[0].kind == "bars" and low == 0 else low - below, high + room)
    return tuple(10**end for end in ends) if log else ends


def _marks(panel: Panel, side: str) -> Iterator:
    yield panel.rows[getattr(panel, side).column]
    yield [line.at for line in panel.references if line.axis == side]
    yield from (getattr(curve, side) for curve in panel.curves)
    x, y = panel.x.column, panel.y.column
    if (panel.kind, side) in (("lines", "y"), ("bars", "x")):
        for name, rows in panel.groups().items():
            found = means(rows, *((x, y) if side == "y" else (y, x)), geometric=panel.geometric)
            yield from [] if name in panel.faint else (found["low"], found["high"])


def axis(panel: Panel, side: str, ends: tuple | None, nticks: int) -> dict[str, Any]:
    """Title, range and ticks of an axis."""
    given = getattr(panel, side)
    title = {"text": given.title, "standoff": 8}
    shown: dict[str, Any] = {"title": title, "automargin": "height+width", "tickangle": 0}
    if panel.kind == "bars" and side == "y":
        order = categories(panel)
        shown |= {"range": [len(order) - 0.5, -0.5], "showgrid": False, "tickfont": {"size": 12}}
        shown |= {"tickvals": list(range(len(order))), "ticktext": ["<br>".join(fold(str(n), 170, 12)) for n in order]}
    elif ends is None:
        shown |= {"type": "category", "dtick": 2 if panel.kind == "heat" else 1, "tickfont": {"size": 11}}
        shown |= {"autorange": "reversed"} if panel.kind == "heat" and side == "y" else {}
    elif given.kind in LOGS:
        ticks, name = _ticks(given, ends, panel.rows), spell_length if given.kind == "length" else spell
        shown |= {"type": "log", "range": list(np.log10(ends)), "tickvals": ticks, "ticktext": [name(t) for t in ticks]}
    else:
        shown |= {"range": ends, "nticks": nticks} | ({"tickvals": given.ticks} if given.ticks else {})
    return shown


def _ticks(axis: Axis, ends: tuple, rows: pd.DataFrame) -> list:
    if axis.kind == "log" or axis.ticks:
        return list(axis.ticks) or log_ticks(*ends)
    lengths = sorted(rows[axis.column].unique())
    return lengths[:: -(-len(lengths) // 7)]


def end_labels(panel: Panel, colours: dict[str, str], ends: tuple, height: int) -> list[dict[str, Any]]:
    """Names beside the last means of lines, moved apart until none lies on another; none where they do not fit."""
    wanted, texts = {}, {}
    for name, rows in panel.groups().items():
        last = float(means(rows, panel.x.column, panel.y.column)["estimate"].iloc[-1])
        low, high, last = np.log10([*ends, last]) if panel.y.kind in LOGS else (*ends, last)
        wanted[name], texts[name] = height * (last - low) / (high - low), fold(name, ROOM - 12, 12)
    widest = max(text_width(line, 12) for text in texts.values() for line in text)
    if max(map(len, texts.values())) > 2 or widest > ROOM:
        return []
    places = apart(wanted, {name: 16.0 * len(lines) for name, lines in texts.items()}, height)
    same = {"x": 1, "xref": "paper", "yref": "paper", "xanchor": "left", "yanchor": "middle", "align": "left"}
    return [
        {"text": "<br>".join(texts[name]), "y": at / height, "font": {"size": 12, "color": colours[name]}}
        | {"opacity": 0.75 if name in panel.faint else 1, "showarrow": False, "xshift": 5} | same
        for name, at in places.items()
    ]  # fmt: skip


def apart(wanted: dict[str, float], sizes: dict[str, float], height: int) -> dict[str, float]:
    """Places in the height as near the wanted ones as sizes allow: blocks that touch move together."""
    blocks: list[tuple[list[str], float]] = []  # names from below, and the middle of the block

    def tall(names: list[str]) -> float:
        return sum(sizes[name] for name in names)

    for name in sorted(wanted, key=wanted.get):
        blocks.append(([name], min(wanted[name], height - sizes[name] / 2)))
        while len(blocks) > 1 and blocks[-1][1] - blocks[-2][1] < (tall(blocks[-1][0]) + tall(blocks[-2][0])) / 2:
            (upper, second), (lower, first) = blocks.pop(), blocks.pop()
            both = lower + upper
            middle = (first * len(lower) + second * len(upper)) / len(both)
            blocks.append((both, min(middle, height - tall(both) / 2)))
    placed = {}
    for names, middle in blocks:
        below = middle - tall(names) / 2
        for name in names:
            placed[name], below = below + sizes[name] / 2, below + sizes[name]
    return placed
