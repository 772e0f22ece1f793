"""An executed notebook as it is handed out, the map of all notebooks, and what a process costs to start."""

import json
import subprocess
import sys

import pytest

from lablib.app.notebook import NOTEBOOKS, PLANNED, lab_map, map_table, redact_notebook
from lablib.core.redact import redactor
from lablib.core.store import PROJECT


def test_a_notebook_loses_papermills_and_the_widgets_metadata(tmp_path):
    clean = redactor(folders={tmp_path: "."})
    cell = {
        "metadata": {"papermill": {"status": "completed"}, "tags": ["x"]},
        "outputs": [{"text": [f"{tmp_path}/y\n"]}],
    }
    notebook = {"metadata": {"papermill": {"input_path": "x"}, "widgets": {}, "kernelspec": {}}, "cells": [cell]}
    found = redact_notebook(notebook, clean)
    assert found["metadata"] == {"kernelspec": {}}
    assert found["cells"] == [{"metadata": {"tags": ["x"]}, "outputs": [{"text": ["y\n"]}]}]
    assert cell["metadata"]["papermill"]  # the notebook that is still running is left alone


def test_the_map_has_every_notebook_that_is_there_and_every_planned_one_once_and_in_order():
    names = [name for name, _, _ in lab_map()]
    assert names == sorted(set(names))
    here = {name for name, _, state in lab_map() if state == "here"}
    assert here == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}
    assert set(names) - here == set(PLANNED) - here
    for name, asked, _ in lab_map():
        assert asked.partition(" (")[0].endswith("?"), name
        assert "|" not in asked


def test_a_planned_notebook_that_is_there_is_no_longer_to_come(tmp_path, monkeypatch):
    prose = {"cell_type": "markdown", "metadata": {}, "source": "## The question\n\nIs it\nthere?"}
    (tmp_path / "06_learning_rate.ipynb").write_text(json.dumps({"nbformat": 4, "cells": [prose]}))
    monkeypatch.setattr("lablib.app.notebook.NOTEBOOKS", tmp_path)
    rows = dict((name, more) for name, *more in lab_map())
    assert rows["06_learning_rate"] == ["Is it there?", "here"]
    assert rows["08_small_models"][1] == "to come"


def test_the_readme_has_the_map_as_it_is():
    assert map_table("notebooks/") in (PROJECT / "README.md").read_text()


def test_notebook_00_prints_the_map_and_does_not_write_it():
    text = (NOTEBOOKS / "00_start_here.ipynb").read_text()
    assert "map_table()" in text
    for name in ("01_seesaw", "to come", *PLANNED):
        assert name not in text


@pytest.mark.parametrize("imports", ["lablib.app.worker", "lablib.app.cli, lablib.app.pipeline, lablib.app.report"])
def test_no_process_of_the_lab_waits_for_a_grammar_of_web_addresses_or_for_tables(imports):
    """The grammar takes two seconds of CPU, and is there in a Python that imports nbformat alone; pandas takes 0.3."""
    program = f"import sys, {imports}; print(*({{'lark', 'pandas', 'nbformat'}} & {{*sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["nbformat"]
