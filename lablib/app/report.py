"""`report.html`: one offline page a run, with each notebook's prose, figures, tables, exercises and status."""

import itertools
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lablib.app.display import minutes
from lablib.app.errors import BadInput
from lablib.app.notebook import load, title
from lablib.app.outputs import Still, exercise_states, prepared
from lablib.app.prose import inline, markdown, sanitize
from lablib.app.run_state import NotebookRun, RunState
from lablib.core.files import write_atomically
from lablib.core.redact import redactor, strip_ansi

TEMPLATES = Path(__file__).with_name("templates")


def write(state: RunState, still: Still | None = None) -> Path:
    """Write the report of a run beside its state, and return where it lies."""
    path = state.folder / "report.html"
    write_atomically(path, build(state, still).encode("utf-8", "replace"))
    return path


def build(state: RunState, still: Still | None = None) -> str:
    """The page as text; `still` draws a figure as a PNG for readers without JavaScript."""
    numbers = itertools.count(1)
    notebooks = [_notebook(state, run, numbers, still) for run in state.notebooks]
    plotly = ""
    if next(numbers) > 1:  # once, and only where there is a figure to draw
        from plotly.offline import get_plotlyjs

        plotly = Markup(get_plotlyjs())
    return environment().get_template("report.html.j2").render(state=state, notebooks=notebooks, plotly=plotly)


def environment() -> Environment:
    """The templates: all text is escaped and loses folders and secrets, but for what was made harmless before."""
    clean = redactor()
    made = Environment(loader=FileSystemLoader(TEMPLATES), autoescape=True, trim_blocks=True)
    made.finalize = lambda value: clean(value) if type(value) is str else value
    made.filters |= {"minutes": minutes, "markdown": markdown, "sanitize": sanitize, "strip_ansi": strip_ansi}
    return made


def _notebook(state: RunState, run: NotebookRun, numbers: itertools.count, still: Still | None) -> dict[str, Any]:
    """What the page says of a notebook; no cells where nothing of it was kept."""
    anchor = re.sub(r"[^\w-]+", "-", run.name)
    shown: dict[str, Any] = {"run": run, "anchor": anchor, "status": state.seen_status_of(run), "title": run.name}
    try:
        notebook = load(state.executed(run))
    except BadInput:
        return shown
    heading, parts = inline(title(notebook)), []
    cells = prepared(notebook, numbers, still)

    def anchored(match: re.Match) -> str:
        parts.append((f"{anchor}-{len(parts) + 1}", Markup(match[1])))
        return f'<h3 id="{parts[-1][0]}">{match[1]}</h3>'

    for cell in cells:
        if cell.cell_type == "markdown":
            path = str(state.notebook_path(run).parent)
            prose = markdown(cell.source, path=path, attachments=cell.get("attachments"))
            prose = prose.replace(f"<h2>{heading}</h2>", "")  # the page has it already
            cell.prose = Markup(re.sub(r"<h3>(.*?)</h3>", anchored, prose))
    shown |= {"cells": cells, "parts": parts, "exercises": exercise_states(cells)}
    return shown | {"title": heading or run.name}
