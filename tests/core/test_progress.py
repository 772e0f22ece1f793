"""The progress line says what is done, what is left, and how long it took."""

import io
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from lablib.core.progress import progress_line

BAR = "\N{BOX DRAWINGS HEAVY HORIZONTAL}"


def test_a_log_gets_a_whole_line_for_each_arm(capsys):
    show = progress_line("seesaw", live=False)
    for done in range(3):
        show(done, 2, f"arm {done}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["seesaw"] * 3
    assert [line.count(BAR) for line in lines] == [0, 12, 24]
    assert [line.partition("/2 ")[2] for line in lines] == [
        "0:00:00 · arm 0",
        "0:00:00, about 0:00:00 left · arm 1",
        "0:00:00 · arm 2",
    ]


def test_a_person_sees_one_line_rewritten_and_ended_once(capsys):
    show = progress_line("seesaw", live=True)
    for done in range(3):
        show(done, 2, "x" * (300 - 140 * done))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.endswith("\n")
    lines = out.rstrip("\n").split("\r")[1:]
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1  # padded or cut: nothing of a longer line stays behind
    assert "\x1b" not in out


def test_the_time_left_is_in_proportion_to_the_time_spent(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("rich.console.monotonic", lambda: now[0])
    show = progress_line("seesaw", live=False)
    now[0] += 90.0
    show(1, 3, "")
    assert "1/3 0:01:30, about 0:03:00 left" in capsys.readouterr().out


def test_nothing_to_do_is_a_full_bar(capsys):
    progress_line("seesaw", live=False)(0, 0, "5 of 5 arms already there")
    assert capsys.readouterr().out == f"seesaw {BAR * 24} 0/0 0:00:00 · 5 of 5 arms already there\n"


class OutStream(io.StringIO):
    """Stands in for a kernel's standard output."""


OutStream.__module__ = "ipykernel.iostream"


def test_a_kernel_without_a_person_keeps_the_last_line_only(monkeypatch):
    monkeypatch.setattr(sys, "stdout", OutStream())
    show = progress_line("seesaw", live=False)
    for done in range(17):
        show(done, 16, f"arm {done}")
    assert sys.stdout.getvalue().count("\n") == 1
    assert "16/16" in sys.stdout.getvalue()
    assert "arm 16" in sys.stdout.getvalue()


@pytest.mark.slow  # it starts a kernel
def test_a_stored_notebook_holds_text_and_no_state_of_a_widget():
    code = "from lablib.core.progress import progress_line\n"
    code += "show = progress_line('seesaw', live={})\nfor done in range(4): show(done, 3, f'arm {{done}}')"
    cells = [nbformat.v4.new_code_cell(code.format(live)) for live in (True, False)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    NotebookClient(notebook, timeout=600).execute()
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        assert {output.output_type for output in cell.outputs} == {"stream"}
        text = "".join(output.text for output in cell.outputs)
        assert text.count("\n") == 1
        assert text.rstrip().endswith("arm 3")
