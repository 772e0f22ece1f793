"""The outputs of an executed notebook as HTML that needs nothing from outside the page."""

import base64
import html
import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from markdown_it import MarkdownIt

from lablib.app.notebook import Cell
from lablib.app.sanitize import sanitize
from lablib.core.scrub import strip_ansi

PLOTLY = "application/vnd.plotly.v1+json"
LONG = 40  # lines of a stream from which on it is folded
# what lablib.core.exercise prints
_EXERCISE = re.compile(r"^(Exercise\b.*?): (not attempted|not yet|correct)\b", re.MULTILINE)


class Outputs:
    """Renders outputs in order and numbers their figures, for one page.

    `still` draws a figure as a PNG, for readers without JavaScript; without it the images that a cell made are used.
    """

    def __init__(self, still: Callable[[dict[str, Any]], bytes] | None = None):
        self.numbers = itertools.count(1)
        self.still = still
        self.figures = 0

    def of(self, cell: Cell) -> Iterator[str]:
        """The HTML of each output of a code cell that has something to show."""
        for output in _joined(cell.get("outputs", [])):
            kind = output.get("output_type")
            if kind == "stream":
                yield stream(output["text"])
            elif kind == "error":
                trace = "\n".join(output.get("traceback") or [f"{output.get('ename')}: {output.get('evalue')}"])
                yield f'<pre class="error">{html.escape(strip_ansi(trace))}</pre>'
            elif kind in ("display_data", "execute_result"):
                yield self._data(output.get("data", {}))

    def _data(self, data: dict[str, Any]) -> str:
        if PLOTLY in data:
            return self._figure(data[PLOTLY], picture(data) or self._drawn(data[PLOTLY]))
        if found := picture(data):
            return f"<figure>{found}</figure>"
        if "text/html" in data:
            return f'<div class="scroll" tabindex="0">{sanitize(_text(data["text/html"]))}</div>'
        if "text/markdown" in data:
            return f'<div class="prose">{markdown(_text(data["text/markdown"]))}</div>'
        if "application/vnd.jupyter.widget-view+json" in data or "text/plain" not in data:
            return ""  # a widget's plain text names its class only
        return f"<pre>{html.escape(_text(data['text/plain']))}</pre>"

    def _drawn(self, figure: dict[str, Any]) -> str:
        if self.still is None:
            return ""
        png = base64.b64encode(self.still(figure)).decode()
        return picture({"image/png": png, "text/plain": _figure_title(figure) or "a figure"})

    def _figure(self, figure: dict[str, Any], fallback: str) -> str:
        self.figures += 1
        name = f"figure-{next(self.numbers)}"
        label = html.escape(_figure_title(figure) or "a figure")
        panels = sum(key.startswith("xaxis") for key in figure.get("layout") or {})
        place = "plot panels" if panels > 1 else "plot"  # several side by side are scrolled, not squeezed
        kept = json.dumps({key: figure.get(key, []) for key in ("data", "layout", "frames")}).replace("<", "\\u003c")
        still = fallback or "<p>Drawn by JavaScript, which is off; lab report --images puts a picture here.</p>"
        return (
            f'<figure><div class="{place}" id="{name}" role="img" aria-label="{label}"></div>'
            f'<script type="application/json" data-figure="{name}">{kept}</script>'
            f"<noscript>{still}</noscript></figure>"
        )


def _joined(outputs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The outputs, with what was printed in several goes as one, as JupyterLab shows it."""
    for name, group in itertools.groupby(outputs, key=lambda output: output.get("name")):
        if name is None:
            yield from group
        else:
            yield {"output_type": "stream", "name": name, "text": "".join(_text(part["text"]) for part in group)}


def stream(text: str) -> str:
    """What was printed; of a line rewritten in place only its last form, and long ones folded."""
    lines = [line.rstrip("\r").rpartition("\r")[2].rstrip() for line in strip_ansi(text).split("\n")]
    body = f"<pre>{html.escape(chr(10).join(lines).rstrip())}</pre>"
    return f"<details><summary>{len(lines)} lines of output</summary>{body}</details>" if len(lines) > LONG else body


def picture(data: dict[str, Any]) -> str:
    """An `img` with the picture inside it, or an empty string; SVG too, where it can run no script."""
    alternative = html.escape(_text(data.get("text/plain", "a picture")), quote=True)
    for kind in ("image/png", "image/jpeg", "image/svg+xml"):
        if kind in data:
            content = _text(data[kind])
            if kind == "image/svg+xml":
                content = base64.b64encode(content.encode()).decode()
            content = re.sub(r"[^A-Za-z0-9+/=]", "", content)
            return f'<img src="data:{kind};base64,{content}" alt="{alternative}">'
    return ""


def markdown(text: str) -> str:
    """Markdown as HTML, raw HTML shown as text, links and pictures from outside dropped."""
    return sanitize(MarkdownIt("commonmark", {"html": False}).enable("table").render(text))


def inline(text: str) -> str:
    """One line of Markdown, such as a heading, as HTML."""
    return sanitize(MarkdownIt("commonmark", {"html": False}).renderInline(text))


def exercise_states(cell: Cell) -> list[tuple[str, str]]:
    """Title and state (`not attempted`, `not yet` or `correct`) of each exercise that a cell has checked."""
    printed = "".join(_text(output.get("text", "")) for output in cell.get("outputs", []))
    return _EXERCISE.findall(strip_ansi(printed))


def _text(value: Any) -> str:
    return "".join(value) if isinstance(value, list) else str(value)


def _figure_title(figure: dict[str, Any]) -> str:
    title = (figure.get("layout") or {}).get("title")
    text = title.get("text") if isinstance(title, dict) else title
    return re.sub(r"<[^>]+>", " ", text) if isinstance(text, str) else ""
