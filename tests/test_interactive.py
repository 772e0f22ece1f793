"""What a notebook does for a person at the screen: its widgets are built in a kernel by nbval, with LAB_INTERACTIVE=1.

`lab run` runs the notebooks without widgets. Here only the cells that ask whether there is a person run, with those
that they need; their arms lie in the store of that run.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

pytestmark = pytest.mark.slow

PATIENCE = 900  # seconds a cell may take: the last resort against hanging


def interactive_part(notebook) -> list:
    """The code cells up to the session, those below that speak of `interactive`, and those that they need."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    setup = next(i for i, cell in enumerate(cells) if "session(" in cell.source)
    kept, needed = [], set()
    for cell in reversed(cells[setup + 1 :]):
        loaded, stored = names(cell.source)
        if "interactive" in cell.source or stored & needed:
            kept.insert(0, cell)
            needed |= loaded
    return cells[: setup + 1] + kept


def names(source: str) -> tuple[set[str], set[str]]:
    """The names that a cell reads and those that it gives a value."""
    nodes = list(ast.walk(ast.parse(source)))
    loaded = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    stored |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    return loaded, stored | {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}


def validate(folder: Path, home: Path) -> subprocess.CompletedProcess:
    """nbval on all notebooks of a folder, as a person at the screen would run them."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "LAB_"))}
    environ |= {"LAB_SCALE": "smoke", "LAB_INTERACTIVE": "1", "LAB_HOME": str(home)}
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    options = [
        "-p",
        "lablib.app.quick_imports",
        "-p",
        "over_sockets",
        "--nbval-lax",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        "-q",
    ]
    options += [f"--nbval-cell-timeout={PATIENCE}", f"--nbval-kernel-startup-timeout={PATIENCE}"]
    command = [sys.executable, "-m", "pytest", *options, str(folder)]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True)


def test_all_that_is_for_a_person_can_be_shown_in_a_kernel(smoke_run, tmp_path):
    count = 0
    for path in smoke_run.notebooks:
        notebook = nbformat.read(path, as_version=4)
        notebook.cells = interactive_part(notebook)
        assert sum("interactive" in cell.source for cell in notebook.cells) >= 4  # parameters, session, guess, picture
        nbformat.write(notebook, tmp_path / path.name)
        count += len(notebook.cells)
    arms = sorted(smoke_run.lab.home.rglob("*.json"))
    done = validate(tmp_path, smoke_run.lab.home)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"\b{count} passed", done.stdout), done.stdout
    assert sorted(smoke_run.lab.home.rglob("*.json")) == arms, "an arm was computed a second time"


def test_a_cell_that_fails_for_a_person_only_would_be_seen(tmp_path):
    setup = "from lablib.core.session import session\nlab = session()"
    for name, wrong in {"raises": "raise ValueError('no widget')", "refuses": "assert not lab.interactive"}.items():
        sources = [setup, "unused = 1 / 0", "wanted = 1", f"if lab.interactive and wanted:\n    {wrong}"]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
        notebook.cells = interactive_part(notebook)
        assert [cell.source for cell in notebook.cells] == [sources[0], *sources[2:]]
        (tmp_path / "slices").mkdir(exist_ok=True)
        nbformat.write(notebook, tmp_path / "slices" / f"{name}.ipynb")
    done = validate(tmp_path / "slices", tmp_path / "home")
    assert done.returncode == 1
    assert "2 failed, 4 passed" in done.stdout
