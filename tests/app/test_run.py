"""`lab run` end to end: how each notebook ends is told truly, kept, and handed out clean."""

import json
from pathlib import Path

import nbformat
import pytest

from lablib.app import report, run_state
from lablib.core.store import PROJECT

from .conftest import Lab, printed, write_notebook

pytestmark = pytest.mark.slow

GOOD = """\
import os, sys, pathlib
print(seed, rates, scale, interactive, *(os.environ[name] for name in ("LAB_SCALE", "LAB_WORKERS", "OMP_NUM_THREADS")))
print(os.getcwd(), pathlib.Path.home() / "notes.txt", sys.executable, os.environ["A_TOKEN"], sep="\\n")"""
TABLE = """\
import pandas as pd
pd.DataFrame({"claim": ["<script>alert(1)</script>"], "value": [0.5]})"""
FIGURE = """\
import plotly.graph_objects as go
go.Figure(go.Scatter(y=[1, 2]), layout=dict(title="A </script> figure"))"""
BAD = """\
import pathlib
raise ValueError(f"no such thing: {pathlib.Path.cwd() / 'x'}")"""
DIES_WITH_WORKERS = """\
import os, signal, time
from lablib.core.experiment import worker_pool
pool = worker_pool(1)
print(pool.submit(int, 7).result(), flush=True)
pool.submit(time.sleep, 3600)
os.kill(os.getpid(), signal.SIGKILL)"""
SECRET = "correct-horse-battery"


@pytest.fixture(scope="module")
def finished(lab: Lab, tmp_path_factory) -> tuple[Lab, int, str]:
    """One smoke run of three notebooks side by side, on a machine whose `python3` kernel is broken."""
    notebooks = lab.folder / "notes {of mine}"
    write_notebook(notebooks, "good", GOOD, TABLE, FIGURE)
    write_notebook(notebooks, "bad", BAD, "print('never reached')")
    write_notebook(notebooks, "dead", DIES_WITH_WORKERS, "print('never reached')")
    broken = tmp_path_factory.mktemp("jupyter") / "kernels" / "python3"
    broken.mkdir(parents=True)
    spec = {"argv": ["/bin/false"], "display_name": "broken", "language": "python"}
    (broken / "kernel.json").write_text(json.dumps(spec))
    lab.environ = {"JUPYTER_PATH": str(broken.parents[1]), "A_TOKEN": SECRET}
    names = [str(notebooks / f"{name}.ipynb") for name in ("good", "bad", "dead")]
    options = ["--scale", "smoke", "-p", "seed=7", "-p", "rates=0.1,0.2", "--workers", "2", "--out", str(lab.out)]
    code, text = lab.run("run", *names, *options)
    return lab, code, text


def test_each_notebook_ends_with_its_own_status(finished):
    lab, code, text = finished
    assert lab.statuses() == {"good": "ok", "bad": "failed", "dead": "killed"}, text
    assert lab.last_run()["status"] == "failed"
    assert code == 1


def test_errors_are_short_and_say_what_happened(finished):
    runs = {run["name"]: run for run in finished[0].last_run()["notebooks"]}
    assert runs["good"]["error"] is None
    assert runs["bad"]["error"] == "ValueError: no such thing: x"
    assert "kernel died" in runs["dead"]["error"]


def test_parameters_reach_the_notebook_by_their_type(finished):
    lab = finished[0]
    assert printed(lab.executed("good")).startswith("7 [0.1, 0.2] smoke False smoke 1 1\n")
    good = lab.last_run()["notebooks"][0]
    assert good["parameters"] == {"seed": 7, "rates": [0.1, 0.2], "scale": "smoke", "interactive": False}


def test_the_kernel_is_this_python_in_the_notebooks_folder(finished):
    lines = printed(finished[0].executed("good")).splitlines()
    assert lines[1] == "."
    assert lines[3].endswith("python") or "python3" in lines[3]


def test_nothing_is_left_running(finished):
    assert finished[0].left_over() == []


def test_cpu_time_counts_the_kernel_and_its_workers(finished):
    runs = {run["name"]: run for run in finished[0].last_run()["notebooks"]}
    assert all(run["cpu_seconds"] > 0.3 and run["wall_seconds"] > 0.5 for run in runs.values())
    assert runs["dead"]["cpu_seconds"] > 1.5  # a worker of its own imports torch


def test_progress_is_whole_lines_where_there_is_no_terminal(finished):
    text = finished[2]
    assert "\r" not in text
    assert "\x1b" not in text
    assert "good  ok, 0:" in text
    assert "report: runs/" in text
    assert "--resume" in text


def test_no_path_and_no_secret_is_handed_out(finished):
    lab = finished[0]
    folder = lab.out / lab.last_run()["id"]
    assert sorted(path.name for path in folder.iterdir()) == [
        "bad.ipynb",
        "dead.ipynb",
        "good.ipynb",
        "report.html",
        "run.json",
    ]
    for path in folder.iterdir():
        text = path.read_text().partition("<script>")[0]  # what follows in the report is plotly's own code
        for leak in (str(lab.folder), str(PROJECT), str(Path.home()) + "/", SECRET):
            assert leak not in text, f"{path.name} holds {leak}"


def test_the_executed_notebook_keeps_no_papermill_metadata(finished):
    notebook = finished[0].executed("dead")
    nbformat.validate(notebook)
    assert "papermill" not in notebook.metadata
    assert all("papermill" not in cell.metadata for cell in notebook.cells)


def test_the_report_of_the_run_shows_all_three(finished):
    lab = finished[0]
    page = (lab.out / lab.last_run()["id"] / "report.html").read_text()
    for words in ("About good", "ok</span>", "a cell raised an error", "its kernel died", "ValueError: no such thing"):
        assert words in page
    assert "<script>alert" not in page
    assert page.count("plotly.js v") == 1


def test_resume_computes_only_the_rest_with_the_same_parameters(finished):
    lab = finished[0]
    before = lab.last_run()
    untouched = (lab.out / before["id"] / "good.ipynb").stat().st_mtime_ns
    write_notebook(lab.folder / "notes {of mine}", "bad", "print('seed is', seed, rates)")
    write_notebook(lab.folder / "notes {of mine}", "dead", "1 + 1")
    code, text = lab.run("run", "--resume", before["id"], "--out", str(lab.out))
    assert code == 0, text
    after = lab.last_run()
    assert after["id"] == before["id"]
    assert lab.statuses() == {"good": "ok", "bad": "ok", "dead": "ok"}
    assert after["notebooks"][0] == before["notebooks"][0]
    assert (lab.out / before["id"] / "good.ipynb").stat().st_mtime_ns == untouched
    assert "seed is 7 [0.1, 0.2]" in printed(lab.executed("bad"))
    assert len(after["resumed"]) == 1
    code, text = lab.run("run", "--resume", before["id"], "--out", str(lab.out))
    assert code == 2
    assert "is complete" in text


def test_the_deadline_is_for_the_whole_notebook_and_stops_it_whole_in_whatever_cell(own_lab):
    """One hangs outside Python with a process of another session; one inside C code that never heeds a signal."""
    hung = "import pathlib\npathlib.Path(f'{NAME}-hangs').touch()\n"
    sleeps = "import subprocess, time\nsubprocess.Popen(['sleep', '3600'], start_new_session=True)\n"
    counts = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    folder, quick = own_lab.folder, ["import time; time.sleep(0.1)"] * 2
    write_notebook(folder, "sleeps", *quick, f"{sleeps}{hung.format(NAME='sleeps')}time.sleep(3600)")
    counting = f"{counts}{hung.format(NAME='counts')}print(sum(range(10**15)))"
    write_notebook(folder, "counts", "print('an early result')", counting, "print('never reached')")
    for seconds in (8, 24, 72, 216):  # a busy machine may need more than the first to come to the cells that hang
        names = ["sleeps.ipynb", "counts.ipynb", "--workers", "2", "--timeout", str(seconds)]
        code, text = own_lab.run("run", *names, "--scale", "smoke", "--out", str(own_lab.out))
        if len(list(folder.glob("*-hangs"))) == 2:
            break
    assert code == 1, text
    assert own_lab.statuses() == {"sleeps": "timeout", "counts": "timeout"}
    assert own_lab.errors() == {
        "sleeps": f"not done after {seconds} s, stopped in code cell 4 of 4",
        "counts": f"not done after {seconds} s, stopped in code cell 3 of 4",
    }
    assert printed(own_lab.executed("counts")) == "an early result\n"
    assert own_lab.left_over() == []


def test_the_record_can_be_read_back_and_reported_again(finished):
    lab = finished[0]
    record = run_state.find(lab.out, "last")
    assert record.seen_status in ("ok", "failed")
    assert "Where this was made" in report.build(record)
