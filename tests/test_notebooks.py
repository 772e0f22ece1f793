"""The form of the notebooks (DESIGN section 4); that they run is nbval's part of `make test`."""

import ast
import json
import re
import statistics
from pathlib import Path

import nbformat
import pytest

from lablib.core.store import PROJECT

HEADINGS = [
    "The question",
    "Predict",
    "In one picture",
    "Derive it small",
    "The same in lablib",
    "The experiment",
    "What happened",
    "What it cost and what we do not know",
]
PLOTTING = {"plotly", "matplotlib", "seaborn", "altair"}
NOTEBOOKS = sorted((PROJECT / "notebooks").glob("[0-9][0-9]_*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request) -> Path:
    return request.param


@pytest.fixture
def notebook(path: Path):
    return nbformat.read(path, as_version=4)


def code_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_notebooks():
    names = ["00_start_here", "01_seesaw_effect", "02_swa_warmup", "03_ttt_toy_bigram", "07_triton_kernels"]
    assert [path.stem for path in NOTEBOOKS] == names


def test_headings_are_the_eight_in_order(notebook):
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert [line[3:] for line in text.splitlines() if line.startswith("## ")] == HEADINGS


def test_committed_without_outputs_counts_and_widget_state(notebook):
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
    assert set(notebook.metadata) <= {"kernelspec", "language_info"}


def test_parameters_cell_is_tagged_typed_and_commented(notebook):
    tagged = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    names = {}
    for line in tagged[0].source.splitlines():
        statement = ast.parse(line).body[0]
        assert isinstance(statement, ast.AnnAssign), f"{line!r} has no type"
        assert "  # " in line, f"{line!r} has no comment"
        names[statement.target.id] = ast.literal_eval(statement.value)
    assert names["scale"] is None
    assert names["interactive"] is None


def test_cells_are_short_and_prose_keeps_pace_with_code(notebook):
    lines = [sum(bool(line.strip()) for line in source.splitlines()) for source in code_of(notebook)]
    assert statistics.median(lines) <= 5
    assert max(lines) <= 25
    prose = sum(cell.cell_type == "markdown" for cell in notebook.cells)
    assert prose >= 0.75 * len(lines)
    assert len(lines) <= 40


def test_no_training_loop_no_optimiser_no_plotting_and_only_short_functions(notebook):
    for source in code_of(notebook):
        for node in ast.walk(ast.parse(source)):
            assert not isinstance(node, ast.While), "loops over steps belong in lablib"
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 10, f"{node.name} is longer than 10 lines"
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
                assert not PLOTTING & {name.split(".")[0] for name in modules}
            if isinstance(node, ast.Attribute):
                assert node.attr not in {"backward", "step", "zero_grad"}, "training belongs in lablib"


def test_every_exercise_is_followed_by_its_folded_solution(notebook):
    code = code_of(notebook)
    checks = [(i, name) for i, source in enumerate(code) for name in re.findall(r"exercises\.(check_\w+)\(", source)]
    assert checks, "there is no exercise"
    for i, name in checks:
        assert code[i + 1].endswith(f"show_solution(exercises.{name})")


def test_file_is_small_and_holds_no_path_of_a_machine(path):
    text = path.read_text()
    assert len(text) < 100_000
    assert "/home/" not in text
    assert "/root/" not in text
    assert str(PROJECT) not in text


def test_cell_ids_are_distinct(path):
    ids = [cell["id"] for cell in json.loads(path.read_text())["cells"]]
    assert len(set(ids)) == len(ids)
