"""The form of the notebooks (DESIGN section 4), and that each of its rules bites."""

import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from notebook_rules import (
    HEADINGS,
    RULES,
    code_of,
    committed_stripped,
    functions_are_short,
    headings_are_the_eight_in_order,
    imports_fit_in_ten_lines,
    nothing_is_trained_or_plotted_here,
    parameters_are_tagged_typed_and_commented,
    prose_and_code_take_turns,
    the_setup_has_a_drawing,
    the_setup_has_a_glossary,
)

from lablib.core.store import PROJECT

NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path):
    return nbformat.read(path, as_version=4)


def test_there_are_notebooks():
    assert {path.stem[:2] for path in NOTEBOOKS} >= {"00", "01", "02", "03", "04", "05", "07"}


CASES = [pytest.param(rule, path, id=f"{rule.__name__}-{path.stem}") for rule in RULES for path in NOTEBOOKS]


@pytest.mark.parametrize(("rule", "path"), CASES)
def test_a_notebook_breaks_no_rule(rule, path):
    assert not list(rule(nbformat.read(path, as_version=4), path.parent))


def test_cells_are_short_and_prose_keeps_pace_with_code(notebook):
    shown = [source for source in code_of(notebook) if not source.startswith("exercise.show_solution")]
    lines = [sum(bool(line.strip()) for line in source.splitlines()) for source in shown]
    assert statistics.median(lines) <= 5
    assert max(lines) <= 25
    prose = sum(cell.cell_type == "markdown" for cell in notebook.cells)
    assert prose >= 0.75 * len(lines)
    assert len(lines) <= 40


def test_every_exercise_is_followed_by_its_folded_solution(notebook):
    code = code_of(notebook)
    asking = [(i, source) for i, source in enumerate(code) if "show_solution" not in source]
    checks = [(i, name) for i, source in asking for name in re.findall(r"exercises\.(check_\w+)\(", source)]
    assert checks, "there is no exercise"
    for i, name in checks:
        assert re.search(rf"show_solution\(exercises\.{name}(\(\w+\))?\)$", code[i + 1])


def test_file_is_small_and_holds_no_path_of_a_machine(path):
    text = path.read_text()
    assert len(text) < 100_000
    assert "/home/" not in text
    assert "/root/" not in text
    assert str(PROJECT) not in text


def test_cell_ids_are_distinct(path):
    ids = [cell["id"] for cell in json.loads(path.read_text())["cells"]]
    assert len(set(ids)) == len(ids)


# ---- planted mistakes: a tiny notebook that keeps all rules, and what breaks each of them

PARAMETERS = """\
scale: str | None = None  # smoke, lab or full
interactive: bool | None = None  # widgets or still pictures"""
SETUP = """\
## Setup

![A window over five tokens.](window.svg)

| term | meaning here |
|---|---|
| window | the tokens that a layer reads |
| seed | one training run |"""
LONG = "\n    ".join(["def long():", *(f"x = {number}" for number in range(9)), "return x"])
EXERCISE = f"{LONG}\n\n\nexercises.check_long(long)"


def tiny() -> list:
    """The cells of a notebook that breaks no rule."""
    sections = {name: [new_markdown_cell(f"## {name}\n\nA sentence.")] for name in HEADINGS}
    sections["The question"] += [
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}),
        new_code_cell("from lablib.core.session import session\n\nlab = session(scale, interactive)"),
    ]
    sections["Setup"] = [new_markdown_cell(SETUP)]
    sections["Derive it small"].append(new_code_cell(EXERCISE))
    return [cell for cells in sections.values() for cell in cells]


def swap(old: str, new: str):
    """A mistake: another text in every cell that holds the old one."""

    def plant(cells: list) -> None:
        assert any(old in cell.source for cell in cells)
        for cell in cells:
            cell.source = cell.source.replace(old, new)

    return plant


def add(*sources: str):
    """A mistake: more code cells at the end."""
    return lambda cells: cells.extend(map(new_code_cell, sources))


PLANTED = {
    "no Setup": (swap("## Setup", "### Setup"), headings_are_the_eight_in_order),
    "another order": (lambda cells: cells.append(cells.pop(0)), headings_are_the_eight_in_order),
    "three cells of code": (add("1", "2", "3"), prose_and_code_take_turns),
    "a heading is no sentence": (
        lambda cells: cells.extend([*map(new_code_cell, "12"), new_markdown_cell("### More"), new_code_cell("3")]),
        prose_and_code_take_turns,
    ),
    "eleven imports": (add("\n".join(f"import m{number}" for number in range(10))), imports_fit_in_ten_lines),
    "an import of ten lines": (
        add("from m import (\n  a,\n  b,\n  c,\n  d,\n  e,\n  f,\n  g,\n  h,\n  i,\n)"),
        imports_fit_in_ten_lines,
    ),
    "a long function": (add(LONG), functions_are_short),
    "a loop over steps": (add("for step in range(9):\n    pass"), nothing_is_trained_or_plotted_here),
    "a number of steps": (add("for i in range(cfg.steps):\n    pass"), nothing_is_trained_or_plotted_here),
    "a while loop": (add("while True:\n    pass"), nothing_is_trained_or_plotted_here),
    "a gradient step": (add("loss.backward()"), nothing_is_trained_or_plotted_here),
    "an optimiser": (add("torch.optim.AdamW(parameters)"), nothing_is_trained_or_plotted_here),
    "an imported optimiser": (add("from torch.optim import AdamW"), nothing_is_trained_or_plotted_here),
    "an optimiser of the lab": (add("from lablib.train import optim"), nothing_is_trained_or_plotted_here),
    "a plot": (add("import plotly.express as px"), nothing_is_trained_or_plotted_here),
    "a count": (lambda cells: cells[1].update(execution_count=1), committed_stripped),
    "no tag": (lambda cells: cells[1].metadata.clear(), parameters_are_tagged_typed_and_commented),
    "no type": (swap("scale: str | None = None", "scale = None"), parameters_are_tagged_typed_and_commented),
    "no comment": (swap("  # smoke, lab or full", ""), parameters_are_tagged_typed_and_commented),
    "a scale": (swap("None = None  # smoke", "None = 'lab'  # smoke"), parameters_are_tagged_typed_and_commented),
    "no drawing": (swap("![A window over five tokens.](window.svg)", ""), the_setup_has_a_drawing),
    "a photograph": (swap("window.svg", "window.png"), the_setup_has_a_drawing),
    "a drawing that is gone": (swap("window.svg", "gone.svg"), the_setup_has_a_drawing),
    "a drawing that is none": (swap("window.svg", "other.svg"), the_setup_has_a_drawing),
    "no alternative text": (swap("A window over five tokens.", ""), the_setup_has_a_drawing),
    "no glossary": (swap("| term |", "| name |"), the_setup_has_a_glossary),
    "a short glossary": (swap("| seed | one training run |", ""), the_setup_has_a_glossary),
    "a term twice": (swap("| seed |", "| window |"), the_setup_has_a_glossary),
}


@pytest.fixture
def drawings(tmp_path) -> Path:
    (tmp_path / "window.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"/>')
    (tmp_path / "other.svg").write_text("<html/>")
    return tmp_path


def test_the_tiny_notebook_breaks_no_rule(drawings):
    assert not [fault for rule in RULES for fault in rule(new_notebook(cells=tiny()), drawings)]


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_mistake_breaks_its_rule_and_no_other(name, drawings):
    plant, broken = PLANTED[name]
    cells = tiny()
    plant(cells)
    notebook = new_notebook(cells=cells)
    assert [rule for rule in RULES if list(rule(notebook, drawings))] == [broken]


def test_every_rule_has_a_planted_mistake():
    assert {rule for _, rule in PLANTED.values()} == set(RULES)
