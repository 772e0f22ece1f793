"""The cells of an executed notebook, made ready for the report's template: nothing in them needs what is outside."""

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
from markupsafe import Markup
from nbformat.v4.rwbase import rejoin_lines

from lablib.app.notebook import Cell, Notebook, joined
from lablib.app.prose import inline
from lablib.core.redact import strip_ansi

PLOTLY = "application/vnd.plotly.v1+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
# what lablib.core.exercise prints
_EXERCISE = re.compile(r"^(Exercise\b.*?): (not attempted|not yet|correct)\b", re.MULTILINE)
# a configuration or a session that a cell ends with: it says what the code above it says
_DUMP = re.compile(r"\W*\w*(Config|Session)\(")

Still = Callable[[dict[str, Any]], bytes]


def prepared(notebook: Notebook, numbers: Iterator[int], still: Still | None = None) -> list[Cell]:
    """The cells with their outputs as the page shows them, the figures with the next of `numbers`.

    A code cell has `folded`, outputs that stay with its code, and `shown`. `still` draws a figure as a PNG, for
    readers without JavaScript; without it the images that a cell made are used.
    """
    cells = rejoin_lines(nbformat.from_dict(notebook)).cells
    for cell in cells:
        cell.outputs, shown = joined(cell.get("outputs", [])), []
        for output in cell.outputs:
            data = output.get("data", {})
            if output.output_type == "stream":
                lines = strip_ansi(output.text).rstrip().split("\n")
                # a carriage return begins the line anew
                output.text = "\n".join(line.rstrip().rpartition("\r")[2] for line in lines)
            if PLOTLY in data:
                output.figure = {"number": next(numbers)} | _figure(data[PLOTLY])
                if still and not any(kind in data for kind in PICTURES):
                    data["image/png"] = base64.b64encode(still(data[PLOTLY])).decode()
            if words := shown and _caption(shown[-1], data):
                shown[-1].figure |= {"caption": words, "label": shown[-1].figure["alt"] or words.striptags()}
            else:
                output.picture = picture(data)
                shown.append(output)
        cell.folded = [one for one in shown if _DUMP.match(one.get("data", {}).get("text/plain", ""))]
        cell.shown = [one for one in shown if one not in cell.folded]
    return cells


def _figure(figure: dict[str, Any]) -> dict[str, Any]:
    """A figure's words, those it carries in `layout.meta` first, its number of panels, and its JSON for a script."""
    layout = figure.get("layout") or {}
    title = layout.get("title")
    title = title.get("text") if isinstance(title, dict) else title
    title = " ".join(re.sub(r"<[^>]+>", " ", title).split()) if isinstance(title, str) else ""
    carried = layout.get("meta") if isinstance(layout.get("meta"), dict) else {}
    alt = carried.get("alt") or ""
    # "<" as an escape, so that no text in it can end the script that holds it
    kept = json.dumps({key: figure.get(key, []) for key in ("data", "layout", "frames")}).replace("<", "\\u003c")
    words = {"alt": alt, "label": alt or title or "a figure", "caption": inline(carried.get("caption") or alt)}
    return words | {"panels": sum(key.startswith("xaxis") for key in layout), "json": Markup(kept)}


def _caption(before: Cell, data: dict[str, Any]) -> Markup:
    """What Markdown after a figure says of it, all in italics or as the caption it carries; else an empty string."""
    if "figure" not in before or "text/markdown" not in data:
        return Markup()
    said = inline(data["text/markdown"])
    whole = re.fullmatch(r"<em>((?:(?!</em>).)*)</em>", said, re.DOTALL)
    return Markup(whole[1]) if whole else said if said == before.figure["caption"] else Markup()


def picture(data: dict[str, Any]) -> str:
    """The data address of the first picture there is, or an empty string; SVG too, where it can run no script."""
    for kind in PICTURES:
        if kind in data:
            content = base64.b64encode(data[kind].encode()).decode() if kind == "image/svg+xml" else data[kind]
            return f"data:{kind};base64,{re.sub('[^A-Za-z0-9+/=]', '', content)}"
    return ""


def exercise_states(cells: list[Cell]) -> list[tuple[str, str]]:
    """Title and state (`not attempted`, `not yet` or `correct`) of each exercise that the cells have checked."""
    printed = itertools.chain.from_iterable(cell.get("outputs", []) for cell in cells)
    return _EXERCISE.findall("\n".join(strip_ansi(output.get("text", "")) for output in printed))
