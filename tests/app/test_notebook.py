"""An executed notebook as it is handed out."""

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
