"""An executed notebook as it is handed out, and what it costs to start the process that makes it."""

import subprocess
import sys

import pytest

from lablib.app.notebook import scrub_notebook
from lablib.core.scrub import scrubber


def test_a_notebook_loses_papermills_and_the_widgets_metadata(tmp_path):
    clean = scrubber(folders={tmp_path: "."})
    cell = {
        "metadata": {"papermill": {"status": "completed"}, "tags": ["x"]},
        "outputs": [{"text": [f"{tmp_path}/y\n"]}],
    }
    notebook = {"metadata": {"papermill": {"input_path": "x"}, "widgets": {}, "kernelspec": {}}, "cells": [cell]}
    found = scrub_notebook(notebook, clean)
    assert found["metadata"] == {"kernelspec": {}}
    assert found["cells"] == [{"metadata": {"tags": ["x"]}, "outputs": [{"text": ["y\n"]}]}]
    assert cell["metadata"]["papermill"]  # the notebook that is still running is left alone


@pytest.mark.parametrize("imports", ["lablib.app.one_notebook", "lablib.app.cli, nbformat"])
def test_no_process_of_the_lab_waits_for_a_grammar_of_web_addresses(imports):
    """Building it takes two seconds of CPU; it is there in a Python that imports nbformat alone."""
    program = f"import sys, {imports}; print('lark' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
