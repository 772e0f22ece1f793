"""The progress line: one a notebook, rewritten on a terminal, whole plain lines elsewhere."""

import io

from rich.console import Console

from lablib.app.display import Display, line, minutes
from lablib.app.run_state import NotebookRun


def run(name="01_seesaw", **more):
    return NotebookRun(name=name, path="x.ipynb", question="", given={}, parameters={}, **more)


def test_a_line_says_cell_and_time():
    assert line(run(status="running", cell=7, cells=23), 41.0, 10) == "01_seesaw   cell 7/23, 0:41"
    assert line(run(status="running"), 0.0, 9) == "01_seesaw  starting, 0:00"
    assert line(run(status="failed", error="ValueError: x"), 61.0, 9) == "01_seesaw  failed, 1:01  ValueError: x"
    assert line(run(), None, 9) == "01_seesaw  waiting"
    assert minutes(3661.0) == "61:01"
    assert minutes(None) == "-"


def test_plain_lines_are_news_only():
    file = io.StringIO()
    one, two = run("one"), run("two")
    with Display([one, two], Console(file=file, width=200)) as display:
        display.show()
        one.status = "running"
        for cell in range(1, 30):
            one.cell, one.cells = cell, 30
            display.show()
        one.status, one.wall_seconds = "ok", 3.0
        display.show()
        display.show()
    assert file.getvalue() == "one  cell 1/30, 0:00\none  ok, 0:03\n"


def test_on_a_terminal_the_lines_are_rewritten():
    file = io.StringIO()
    runs = [run("one", status="running", cell=1, cells=2), run("two", error="x" * 300)]
    with Display(runs, Console(file=file, force_terminal=True, width=60, height=10)) as display:
        display.show()
        runs[0].status = "ok"
        display.show()
    text = file.getvalue()
    assert "cell 1/2" in text
    assert "\x1b[" in text
    assert "x" * 60 not in text  # cut, so that a line stays a line
