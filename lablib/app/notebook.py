"""A notebook as plain JSON: its title, question, tagged cells, the form to hand out; and the map of all notebooks."""

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lablib.app.errors import BadInput
from lablib.core.checkout import PROJECT
from lablib.core.redact import redact

Notebook = dict[str, Any]
Cell = dict[str, Any]
NOTEBOOKS = PROJECT / "notebooks"
PLANNED = {
    "06_learning_rate": "Fit the learning rate, or transfer it? ([2601.05049](https://arxiv.org/abs/2601.05049))",
    "08_small_models": "What makes a small model learn more for the same cost?",
}


def lab_notebooks(folder: Path) -> list[Path]:
    """The lab's notebooks, in their order: files named by two digits, `_`, then letters, digits and more of `_`.

    So a copy that JupyterLab or a file manager makes (`01_seesaw-Copy1`, `01_seesaw (2)`) is none of them.
    """
    named = [path for path in folder.glob("*.ipynb") if re.fullmatch(r"[0-9]{2}_\w+", path.stem)]
    return sorted(path for path in named if path.is_file())


def load(path: Path) -> Notebook:
    """The notebook in a file; BadInput where there is none or it is not a notebook of format 4."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise BadInput(f"{path.name} is not valid JSON ({error.msg} at {place}); restore it from git") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadInput(f"{path.name} cannot be read: {reason}") from None
    if not isinstance(notebook, dict) or notebook.get("nbformat") != 4:
        found = notebook.get("nbformat") if isinstance(notebook, dict) else type(notebook).__name__
        raise BadInput(f"{path.name} is not a notebook of nbformat 4 (found {found!r}); save it again in JupyterLab")
    if not isinstance(notebook.get("cells"), list):
        raise BadInput(f"{path.name} has no list of cells; restore it from git")
    return notebook


def source(cell: Cell) -> str:
    """A cell's text."""
    return _whole(cell.get("source", ""))


def _whole(text: str | list[str]) -> str:
    """A text of a notebook, which JSON may hold as one string or as a list of lines."""
    return "".join(text) if isinstance(text, list) else text


def tags(cell: Cell) -> list[str]:
    return cell.get("metadata", {}).get("tags", [])


def title(notebook: Notebook) -> str:
    """The first heading, fenced code left out, or an empty string."""
    for cell in notebook["cells"]:
        if cell.get("cell_type") == "markdown":
            text = re.sub(r"^(```|~~~).*?^\1", "", source(cell), flags=re.MULTILINE | re.DOTALL)
            if found := re.search(r"^#{1,6}\s+(.+?)\s*#*$", text, re.MULTILINE):
                return found[1]
    return ""


def question(notebook: Notebook) -> str:
    """The first paragraph under the heading `The question`, on one line, or an empty string."""
    prose = "\n\n".join(source(cell) for cell in notebook["cells"] if cell.get("cell_type") == "markdown")
    found = re.search(r"^##\s+The question\s*$\s*(.*?)(?=\n\n|^#|\Z)", prose, re.MULTILINE | re.DOTALL)
    return " ".join(found[1].split()) if found else ""


def lab_map() -> list[tuple[str, str, str]]:
    """Name, question and state (`here` or `to come`) of every notebook of the lab, in their order."""
    rows = {name: (asked, "to come") for name, asked in PLANNED.items()}
    rows |= {path.stem: (question(load(path)), "here") for path in lab_notebooks(NOTEBOOKS)}
    return [(name, *rows[name]) for name in sorted(rows)]


def map_table(folder: str = "") -> str:
    """The map as a Markdown table; the links lead to notebooks in `folder`."""
    lines = ["| notebook | its question | state |", "|---|---|---|"]
    for name, asked, state in lab_map():
        shown = f"[{name}]({folder}{name}.ipynb)" if state == "here" else name
        lines.append(f"| {shown} | {asked} | {state} |")
    return "\n".join(lines)


def joined(outputs: list[Cell]) -> list[Cell]:
    """The outputs of a cell with neighbouring pieces of one stream as one."""
    found: list[Cell] = []
    for (kind, _), group in itertools.groupby(outputs, lambda one: (one.get("output_type"), one.get("name"))):
        pieces = list(group)
        if kind == "stream":
            pieces = [type(pieces[0])(pieces[0], text="".join(_whole(piece["text"]) for piece in pieces))]
        found += pieces
    return found


def redact_notebook(notebook: Notebook, clean: Callable[[str], str]) -> Notebook:
    """A copy of an executed notebook that can be handed out.

    Papermill's metadata goes whole: it holds paths, and calls a killed notebook `completed`. Streams are joined first:
    a path may be printed in pieces.
    """
    cells = [{**cell, "outputs": joined(cell["outputs"])} if "outputs" in cell else cell for cell in notebook["cells"]]
    copy = redact({**notebook, "cells": cells}, clean)
    for holder in [copy, *copy["cells"]]:
        holder["metadata"] = {key: value for key, value in holder["metadata"].items() if key != "papermill"}
    copy["metadata"].pop("widgets", None)
    return copy
