"""One notebook in its process: how it ends is told by what its cells did, and nothing that they print is lost."""

import json
import os
import subprocess
import sys

import nbformat
import pytest

from .conftest import Lab, write_notebook

pytestmark = pytest.mark.slow

# a cell before the last, and what `lab run` must say of the notebook: the last cell is the third of three
ENDINGS = {
    "allowed": ("1 / 0", "ok", None),
    "exit_0": ("import sys; sys.exit(0)", "failed", "ended early in cell 2 of 3 (SystemExit: 0)"),
    "exit_1": ("import sys; sys.exit(1)", "failed", "ended early in cell 2 of 3 (SystemExit: 1)"),
    "quit": ("quit()", "failed", "ended early in cell 2 of 3 (SystemExit: 0)"),
    "at_once": (
        "import os; os._exit(0)",
        "failed",
        "ended early in cell 2 of 3 (its kernel ended itself with exit code 0)",
    ),
    "interrupt": ("raise KeyboardInterrupt", "failed", "KeyboardInterrupt"),
}
# the last cell itself: all has run
LAST = {
    "exit_0": "import sys; sys.exit(0)",
    "quit": "quit()",
    "dies_after": "import os, threading; threading.Timer(0.05, os._exit, [3]).start()",
}


@pytest.fixture(scope="module")
def ended(lab: Lab) -> Lab:
    """One run of a notebook for each way to end."""
    for name, (code, *_) in ENDINGS.items():
        path = write_notebook(lab.folder, name, code, "print('the last cell')")
        if name == "allowed":
            notebook = nbformat.read(path, as_version=4)
            notebook.cells[3].metadata["tags"] = ["raises-exception"]
            nbformat.write(notebook, path)
    for name, code in LAST.items():
        write_notebook(lab.folder, f"last_{name}", "1", code)
    names = [f"{name}.ipynb" for name in [*ENDINGS, *(f"last_{name}" for name in LAST)]]
    code, text = lab.run("run", *names, "--scale", "smoke", "--workers", "3", "--out", str(lab.out))
    assert code == 1, text
    return lab


@pytest.mark.parametrize("name", ENDINGS)
def test_a_notebook_is_ok_where_all_its_cells_were_run_and_else_says_where_it_ended(ended, name):
    _, status, error = ENDINGS[name]
    assert (ended.statuses()[name], ended.errors()[name]) == (status, error)
    shown = "the last cell" in json.dumps(ended.executed(name).cells[-1].outputs)
    assert shown == (status == "ok")


@pytest.mark.parametrize("name", LAST)
def test_a_notebook_whose_last_cell_ends_it_has_run_whole(ended, name):
    assert (ended.statuses()[f"last_{name}"], ended.errors()[f"last_{name}"]) == ("ok", None)


# nbclient as it reads on a busy machine: a while for each message, and a second to wait for what is still to come
SLOWLY = """\
import json, sys, time
import papermill.engines
from traitlets import Integer
from lablib.app import worker

class Slow(papermill.engines.PapermillNotebookClient):
    iopub_timeout = Integer(1)

    def process_message(self, *arguments, **options):
        time.sleep(0.0005)
        return super().process_message(*arguments, **options)

papermill.engines.PapermillNotebookClient = Slow
sys.exit(worker.run(json.loads(sys.argv[1]), lambda message: print(json.dumps(message))))
"""
PRINTED = [
    ("for i in range(2500): print(i, flush=True)", ["".join(f"{i}\n" for i in range(2500))]),
    ("print('x' * 2_000_000)", ["x" * 2_000_000 + "\n"]),
    ("for i in range(800): display(i)", [str(i) for i in range(800)]),
    ("shown = display(0, display_id=True)\nfor i in range(800): shown.update(i)", ["799"]),
]


def test_what_cells_print_faster_than_it_is_read_is_waited_for_and_kept(tmp_path):
    path = write_notebook(tmp_path, "prints", *(code for code, _ in PRINTED))
    (tmp_path / "runs").mkdir()
    job = {"notebook": str(path), "output": str(tmp_path / "runs" / "out.ipynb"), "parameters": {}}
    environ = os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"), "IPYTHONDIR": str(tmp_path / "ipython")}
    command = [sys.executable, "-c", SLOWLY, json.dumps(job)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout.splitlines()[-1]) == {"status": "ok", "error": None}, done.stderr
    for cell, (_, expected) in zip(nbformat.read(job["output"], as_version=4).cells[-4:], PRINTED, strict=True):
        found = [one.text if one.output_type == "stream" else one.data["text/plain"] for one in cell.outputs]
        assert [one == two for one, two in zip(found, expected, strict=True)] == [True] * len(expected)
