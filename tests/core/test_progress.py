"""The progress line says what is done, what is left, and how long it took."""

import re

from lablib.core import progress as module
from lablib.core.progress import progress_line


def test_a_log_gets_a_whole_line_for_each_arm(capsys):
    show = progress_line("seesaw", live=False, width=4)
    for done in range(3):
        show(done, 2, f"arm {done}")
    assert capsys.readouterr().out.splitlines() == [
        "seesaw [....] 0/2, 0:00 · arm 0",
        "seesaw [##..] 1/2, 0:00, about 0:00 left · arm 1",
        "seesaw [####] 2/2, 0:00 · arm 2",
    ]


def test_a_person_sees_one_line_rewritten_and_ended_once(capsys):
    show = progress_line("seesaw", live=True, width=4)
    for done in range(3):
        show(done, 2, "x" * (20 - 10 * done))
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert out.endswith("\n")
    lines = out.rstrip("\n").split("\r")[1:]
    assert len(lines) == 3
    assert len({len(line) for line in lines}) == 1  # padded: nothing of a longer line stays behind


def test_the_time_left_is_in_proportion_to_the_time_spent(capsys, monkeypatch):
    clock = iter([100.0, 190.0])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    progress_line("seesaw", live=False)(1, 3, "")
    assert "1/3, 1:30, about 3:00 left" in capsys.readouterr().out


def test_nothing_to_do_is_a_full_bar(capsys):
    progress_line("seesaw", live=False, width=4)(0, 0, "5 of 5 arms already there")
    assert re.fullmatch(r"seesaw \[####\] 0/0, 0:00 · 5 of 5 arms already there\n", capsys.readouterr().out)
