"""`report.html`: one offline page a run, with each notebook's question, figures, tables, exercises and status."""

import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lablib.app.display import WORDS, minutes
from lablib.app.errors import BadInput
from lablib.app.notebook import Notebook, headings, load, question_section, title
from lablib.app.outputs import Outputs, exercise_states, inline, markdown
from lablib.app.page import page
from lablib.app.runrecord import NotebookRun, RunRecord
from lablib.core.scrub import scrubber
from lablib.core.store import write_atomically

SMOKE = "A smoke run shows that everything works. Its models are far too small: its numbers are not results."
RUN_WORDS = {
    "ok": "all notebooks ok",
    "failed": "not all notebooks ok",
    "cancelled": "cancelled: stopped by a person or a signal",
    "interrupted": "interrupted: lab itself died; go on with lab run --resume",
}
_CLASS = {"ok": "ok", "failed": "bad", "killed": "bad", "timeout": "bad", "interrupted": "bad", "correct": "ok"}


Still = Callable[[dict[str, Any]], bytes]


def write(record: RunRecord, still: Still | None = None) -> Path:
    """Write the report of a run beside its record, and return where it lies."""
    path = record.folder / "report.html"
    write_atomically(path, build(record, still).encode("utf-8", "replace"))
    return path


def build(record: RunRecord, still: Still | None = None) -> str:
    """The page as text; `still` draws a figure as a PNG for readers without JavaScript."""
    outputs = Outputs(still)
    notebooks = {run.name: _executed(record, run) for run in record.notebooks}
    sections = [_section(record, run, notebooks[run.name], outputs) for run in record.notebooks]
    body = "\n".join([_head(record), _contents(record, notebooks), *sections, _provenance(record)])
    return page(f"Run {record.id}", body, figures=outputs.figures > 0)


def _executed(record: RunRecord, run: NotebookRun) -> Notebook | None:
    try:
        return load(record.executed(run))
    except BadInput:
        return None


def _head(record: RunRecord) -> str:
    good = sum(run.status == "ok" for run in record.notebooks)
    facts = f"{good} of {len(record.notebooks)} notebooks ok, {record.scale} scale, started {_when(record.started)}"
    if record.finished:
        facts += f", ended {_when(record.finished)}"
    if record.parameters:
        facts += ", with " + ", ".join(f"{name}={value}" for name, value in record.parameters.items())
    lines = [
        "<header>",
        f"<h1>Run {html.escape(record.id)}</h1>",
        f"<p>{_status(record.seen_status, RUN_WORDS)}. {_clean(facts)}.</p>",
    ]
    if record.error:
        lines.append(f'<p class="notice bad">{_clean(record.error)}</p>')
    if record.scale == "smoke":
        lines.append(f'<p class="notice">{SMOKE}</p>')
    return "\n".join([*lines, "</header>"])


def _contents(record: RunRecord, notebooks: dict[str, Notebook | None]) -> str:
    lines = ['<nav aria-label="Contents"><ol>']
    for run in record.notebooks:
        name = _title(run, notebooks[run.name])
        took = minutes(run.wall_seconds) if run.wall_seconds is not None else ""
        status = f'{_status(record.seen_status_of(run), {})} <span class="soft">{took}</span>'
        lines.append(f'<li><a href="#{_anchor(run)}">{name}</a> {status}</li>')
    return "\n".join([*lines, '<li><a href="#provenance">Where this was made</a></li>', "</ol></nav>"])


def _section(record: RunRecord, run: NotebookRun, notebook: Notebook | None, outputs: Outputs) -> str:
    status = record.seen_status_of(run)
    times = f"Took {minutes(run.wall_seconds)}, CPU time {minutes(run.cpu_seconds)}." if run.wall_seconds else ""
    given = ", ".join(f"{name} = {value}" for name, value in run.parameters.items())
    lines = [f'<section id="{_anchor(run)}">', f"<h2>{_title(run, notebook)}</h2>"]
    lines.append(f'<p>{_status(status)}. <span class="soft">{times}</span></p>')
    if given:
        lines.append(f'<p class="soft">Parameters: {_clean(given)}.</p>')
    if run.error:
        lines.append(f'<p class="notice bad">{_clean(run.error)}</p>')
    asked = question_section(notebook) if notebook else run.question
    lines.append(f'<div class="prose">{markdown(asked)}</div>' if asked else "")
    if notebook is None:
        lines.append('<p class="soft">Nothing of it was kept.</p>')
    else:
        lines += [_exercises(notebook), *_results(notebook, outputs)]
    return "\n".join([*filter(None, lines), "</section>"])


def _exercises(notebook: Notebook) -> str:
    found = [one for cell in notebook["cells"] for one in exercise_states(cell)]
    items = "".join(f"<li>{html.escape(name)}: {_status(state, {})}</li>" for name, state in found)
    return f"<h3>Exercises</h3>\n<ul>{items}</ul>" if found else ""


def _results(notebook: Notebook, outputs: Outputs) -> list[str]:
    """The outputs in order, each stretch under the notebook's own heading."""
    lines, heading = [], None
    for cell in notebook["cells"]:
        if found := headings(cell):
            level, words = found[-1]
            heading = words if level > 1 and words != "The question" else None
        for output in filter(None, outputs.of(cell)) if cell.get("cell_type") == "code" else ():
            if heading:
                lines.append(f"<h3>{inline(heading)}</h3>")
                heading = None
            lines.append(output)
    return lines


def _provenance(record: RunRecord) -> str:
    facts: dict[str, Any] = record.provenance | {"workers": record.workers}
    facts["deadline of a notebook"] = f"{record.timeout:g} s"
    for resumed in record.resumed:
        facts[f"resumed {_when(resumed['at'])}"] = f"commit {resumed['commit']}{', dirty' if resumed['dirty'] else ''}"
    rows = [f"<tr><th>{_clean(name)}</th><td>{_clean(_spell(value))}</td></tr>" for name, value in facts.items()]
    table = f'<div class="scroll" tabindex="0"><table class="facts"><tbody>{"".join(rows)}</tbody></table></div>'
    return f'<section id="provenance"><h2>Where this was made</h2>{table}</section>'


def _anchor(run: NotebookRun) -> str:
    return re.sub(r"[^\w-]+", "-", run.name)


def _title(run: NotebookRun, notebook: Notebook | None) -> str:
    return inline(title(notebook) if notebook else "") or html.escape(run.name)


def _status(status: str, words: Mapping[str, str] = WORDS) -> str:
    said = html.escape(words.get(status, status))
    return f'<span class="status {_CLASS.get(status, "wait")}">{said}</span>'


def _spell(value: Any) -> str:
    return "unknown" if value is None else value if isinstance(value, str) else json.dumps(value)


def _when(stamp: str) -> str:
    return stamp.replace("T", " ").replace("+00:00", " UTC")


def _clean(text: str) -> str:
    return html.escape(scrubber()(str(text)))
