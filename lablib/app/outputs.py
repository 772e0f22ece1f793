"""The cells of an executed notebook as values that the report's template shows; they need nothing from outside."""

import base64
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import nbformat
from markupsafe import Markup
from nbconvert.preprocessors.coalescestreams import CoalesceStreamsPreprocessor
from nbformat.v4.rwbase import rejoin_lines

from lablib.app.notebook import Cell, Notebook
from lablib.app.prose import inline, markdown, sanitize
from lablib.core.scrub import strip_ansi

PLOTLY = "application/vnd.plotly.v1+json"
PICTURES = ("image/png", "image/jpeg", "image/svg+xml")
# what lablib.core.exercise prints
_EXERCISE = re.compile(r"^(Exercise\b.*?): (not attempted|not yet|correct)\b", re.MULTILINE)
# a configuration or a session that a cell ends with: it says what the code above it says
_DUMP = re.compile(r"\W*\w*(Config|Session)\(")

Shown = dict[str, Any]
Still = Callable[[dict[str, Any]], bytes]


class Cells:
    """Turns cells into values, each with its `kind`, and numbers their figures, for one page.

    `still` draws a figure as a PNG, for readers without JavaScript; without it the images that a cell made are used.
    """

    def __init__(self, still: Still | None = None):
        self.numbers = itertools.count(1)
        self.still = still
        self.figures = 0

    def of(self, notebook: Notebook, path: str = "") -> Iterator[Shown]:
        """The cells in their order; pictures that Markdown names are looked for below the folder `path`."""
        for cell in rejoin_lines(nbformat.from_dict(notebook)).cells:
            if cell.cell_type == "markdown":
                yield {"kind": "prose", "html": markdown(cell.source, path=path, attachments=cell.get("attachments"))}
            elif cell.cell_type == "code" and cell.source.strip():
                shown = self.outputs(cell)
                dumps = [one for one in shown if one["kind"] == "text" and _DUMP.match(one["text"])]
                rest = [one for one in shown if one not in dumps]
                ran = cell.get("execution_count") is not None or bool(cell.outputs)
                yield {"kind": "code", "source": cell.source, "ran": ran, "folded": dumps, "shown": rest}

    def outputs(self, cell: Cell) -> list[Shown]:
        """What a code cell put out: streams as one where they follow each other, a figure with the words under it."""
        whole, _ = CoalesceStreamsPreprocessor().preprocess_cell(cell, {}, 0)
        shown = list(filter(None, map(self._output, whole.get("outputs", []))))
        for before, one in itertools.pairwise([{}, *shown]):
            if words := _caption(before, one):
                before |= {"caption": words, "label": before["alt"] or words.striptags()}
        return [one for before, one in itertools.pairwise([{}, *shown]) if not _caption(before, one)]

    def _output(self, output: Cell) -> Shown | None:
        if output.output_type == "stream":
            return {"kind": "stream", "lines": [line.rstrip() for line in strip_ansi(output.text).rstrip().split("\n")]}
        if output.output_type == "error":
            trace = "\n".join(output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"])
            return {"kind": "error", "text": strip_ansi(trace)}
        data = output.get("data", {})
        if PLOTLY in data:
            return self._figure(data[PLOTLY], data)
        if any(kind in data for kind in PICTURES):
            return {"kind": "picture"} | picture(data)
        if "text/html" in data:
            return {"kind": "html", "html": sanitize(data["text/html"])}
        if "text/markdown" in data:
            return {"kind": "prose", "source": data["text/markdown"], "html": markdown(data["text/markdown"])}
        if "application/vnd.jupyter.widget-view+json" in data or "text/plain" not in data:
            return None  # a widget's plain text names its class only
        return {"kind": "text", "text": data["text/plain"]}

    def _figure(self, figure: dict[str, Any], data: dict[str, Any]) -> Shown:
        self.figures += 1
        layout = figure.get("layout") or {}
        carried = layout.get("meta") if isinstance(layout.get("meta"), dict) else {}
        alt = carried.get("alt") or ""
        if self.still and not any(kind in data for kind in PICTURES):
            data = {"image/png": base64.b64encode(self.still(figure)).decode()}
        # "<" as an escape, so that no text in it can end the script that holds it
        kept = json.dumps({key: figure.get(key, []) for key in ("data", "layout", "frames")}).replace("<", "\\u003c")
        return {
            "kind": "figure",
            "number": next(self.numbers),
            "alt": alt,
            "label": alt or _title(layout) or "a figure",
            "caption": inline(carried.get("caption") or alt),
            "panels": sum(key.startswith("xaxis") for key in layout),
            "json": Markup(kept),
        } | picture(data)


def picture(data: dict[str, Any]) -> Shown:
    """`source`, a data address, and `words` of the first picture there is; SVG too, where it can run no script."""
    for kind in PICTURES:
        if kind in data:
            content = base64.b64encode(data[kind].encode()).decode() if kind == "image/svg+xml" else data[kind]
            content = re.sub(r"[^A-Za-z0-9+/=]", "", content)
            return {"address": f"data:{kind};base64,{content}", "words": data.get("text/plain", "a picture")}
    return {}


def exercise_states(cell: Cell) -> list[tuple[str, str]]:
    """Title and state (`not attempted`, `not yet` or `correct`) of each exercise that a cell has checked."""
    printed = "".join("".join(output.get("text", "")) for output in cell.get("outputs", []))
    return _EXERCISE.findall(strip_ansi(printed))


def _caption(figure: Shown, words: Shown) -> Markup:
    """What the Markdown that follows a figure says of it: all in italics, or the caption that the figure carries."""
    if figure.get("kind") != "figure" or "source" not in words:
        return Markup()
    said = inline(words["source"])
    whole = re.fullmatch(r"<em>((?:(?!</em>).)*)</em>", said, re.DOTALL)
    return Markup(whole[1]) if whole else said if said == figure["caption"] else Markup()


def _title(layout: dict[str, Any]) -> str:
    title = layout.get("title")
    text = title.get("text") if isinstance(title, dict) else title
    return " ".join(re.sub(r"<[^>]+>", " ", text).split()) if isinstance(text, str) else ""
