"""`report.html`: one offline page a run, with each notebook's prose, figures, tables, exercises and status."""

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader
from markupsafe import Markup

from lablib.app.display import WORDS, minutes
from lablib.app.errors import BadInput
from lablib.app.notebook import Notebook, load, title
from lablib.app.outputs import Cells, Still, exercise_states
from lablib.app.prose import inline, markdown
from lablib.app.runrecord import NotebookRun, RunRecord
from lablib.core.scrub import scrubber
from lablib.core.store import write_atomically

TEMPLATES = Path(__file__).with_name("templates")
RUN_WORDS = {
    "ok": "all notebooks ok",
    "failed": "not all notebooks ok",
    "cancelled": "cancelled: stopped by a person or a signal",
    "interrupted": "interrupted: lab itself died; go on with lab run --resume",
}
_CLASS = {"ok": "ok", "failed": "bad", "killed": "bad", "timeout": "bad", "interrupted": "bad", "correct": "ok"}


def write(record: RunRecord, still: Still | None = None) -> Path:
    """Write the report of a run beside its record, and return where it lies."""
    path = record.folder / "report.html"
    write_atomically(path, build(record, still).encode("utf-8", "replace"))
    return path


def build(record: RunRecord, still: Still | None = None) -> str:
    """The page as text; `still` draws a figure as a PNG for readers without JavaScript."""
    cells = Cells(still)
    notebooks = [_notebook(record, run, cells) for run in record.notebooks]
    facts: dict[str, Any] = record.provenance | {"workers": record.workers}
    facts["deadline of a notebook"] = f"{record.timeout:g} s"
    for resumed in record.resumed:
        facts[f"resumed {_when(resumed['at'])}"] = f"commit {resumed['commit']}{', dirty' if resumed['dirty'] else ''}"
    good = sum(run.status == "ok" for run in record.notebooks)
    page = environment().get_template("report.html.j2")
    return page.render(record=record, notebooks=notebooks, good=good, facts=facts, plotly=_plotly(cells.figures))


def environment() -> Environment:
    """The templates: all text is escaped and loses folders and secrets, but for what was made harmless before."""
    clean = scrubber()
    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        finalize=lambda value: clean(value) if type(value) is str else value,
    )
    made.globals |= {"words": WORDS, "run_words": RUN_WORDS, "classes": _CLASS}
    made.filters |= {"minutes": minutes, "when": _when, "spell": _spell, "markdown": markdown}
    return made


def _notebook(record: RunRecord, run: NotebookRun, cells: Cells) -> dict[str, Any]:
    """What the page says of a notebook; no cells where nothing of it was kept."""
    anchor = re.sub(r"[^\w-]+", "-", run.name)
    shown: dict[str, Any] = {"run": run, "anchor": anchor, "status": record.seen_status_of(run)}
    try:
        notebook = load(record.executed(run))
    except BadInput:
        return shown | {"title": run.name, "cells": None}
    heading = inline(title(notebook))
    found = list(cells.of(notebook, path=str(record.notebook_path(run).parent)))
    parts: list[tuple[str, Markup]] = []
    for one in found:
        if one["kind"] == "prose":
            one["html"] = _anchored(one["html"].replace(f"<h2>{heading}</h2>", ""), anchor, parts)
    return shown | {
        "title": heading or run.name,
        "cells": found,
        "parts": parts,
        "exercises": _exercises(notebook),
    }


def _anchored(prose: Markup, anchor: str, parts: list[tuple[str, Markup]]) -> Markup:
    """The prose with an anchor at each heading of the second level; the headings are put to `parts`."""

    def put(match: re.Match) -> str:
        parts.append((f"{anchor}-{len(parts) + 1}", Markup(match[1])))
        return f'<h3 id="{parts[-1][0]}">{match[1]}</h3>'

    return Markup(re.sub(r"<h3>(.*?)</h3>", put, str(prose)))


def _exercises(notebook: Notebook) -> list[tuple[str, str]]:
    return [one for cell in notebook["cells"] for one in exercise_states(cell)]


def _plotly(figures: int) -> Markup:
    """plotly.js, once, and only where there is a figure to draw."""
    if not figures:
        return Markup()
    from plotly.offline import get_plotlyjs

    return Markup(get_plotlyjs())


def _spell(value: Any) -> str:
    return "unknown" if value is None else value if isinstance(value, str) else json.dumps(value)


def _when(stamp: str) -> str:
    return stamp.replace("T", " ").replace("+00:00", " UTC")
