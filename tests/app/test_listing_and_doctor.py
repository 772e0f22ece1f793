"""`lab list`, `lab doctor` and `lab --help`: what there is, what works, and how to go on."""

import contextlib
import os
import pty
import subprocess
import sys

import pytest
from click.testing import CliRunner

from lablib.app import checks, doctor, listing
from lablib.app.cli import main
from lablib.app.runrecord import NotebookRun, RunRecord

from .conftest import write_notebook


def test_help_is_quick_and_names_the_commands():
    code = "import sys; from lablib.app.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for name in ("run", "list", "record", "verify", "report", "doctor"):
        assert f"  {name}" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert not loaded & {"torch", "papermill", "plotly", "pandas", "nbformat", "psutil"}


def test_no_command_is_help():
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 0
    assert "Usage" in result.output


@pytest.fixture
def notebooks(tmp_path, monkeypatch):
    write_notebook(tmp_path, "01_first", "1")
    write_notebook(tmp_path, "02_second", "1")
    (tmp_path / "03_broken.ipynb").write_text("{")
    monkeypatch.setattr(checks, "NOTEBOOKS", tmp_path)
    return tmp_path


def keep_run(out, stamp, **more):
    folder = out / stamp
    folder.mkdir(parents=True)
    one = NotebookRun(name="01_first", path="x", question="", given={}, parameters={}, started="now", **more)
    fields = {"scale": "smoke", "parameters": {}, "workers": 1, "timeout": 9.0, "provenance": {}, "status": "ok"}
    RunRecord(folder=folder, notebooks=[one], **fields).save()


def test_list_shows_questions_and_the_newest_run(notebooks):
    keep_run(notebooks / "runs", "20260101T000000Z-aaaa", status="failed", wall_seconds=1.0)
    keep_run(notebooks / "runs", "20260102T000000Z-bbbb", status="ok", wall_seconds=65.0)
    lines = list(listing.notebook_lines(notebooks / "runs"))
    assert lines[0] == "01_first   ok at smoke scale, 1:05, run 20260102T000000Z-bbbb"
    assert lines[1].strip() == "Does **01_first** hold?"
    assert lines[2] == "02_second  never run"
    assert "not valid JSON" in lines[5]


def test_list_counts_the_arms_of_every_experiment():
    header, *lines = listing.experiment_lines()
    assert header.split() == ["experiment", "scale", "arms", "own", "recorded", "missing"]
    for line in lines:
        _, scale, arms, own, recorded, missing = line.split()
        assert scale in ("smoke", "lab", "full")
        assert int(arms) >= int(missing) >= int(arms) - int(own) - int(recorded)


def test_the_doctor_finds_this_machine_fit(tmp_path):
    findings = doctor.examine(tmp_path / "runs")
    subjects = {one.subject for one in findings}
    assert {
        "python",
        "packages",
        "cores",
        "memory",
        "disk",
        "git",
        "own store",
        "runs",
        "corpus",
        "GPU",
        "sliding-window attention",
    } <= subjects
    assert not (tmp_path / "runs").exists()
    assert all(one.mend for one in findings if one.state != doctor.GREEN)
    broken = {one.subject for one in findings if one.state == doctor.RED}
    assert broken <= {"memory", "disk", "disk for temporary files"}  # which others on this machine may have taken


def test_the_doctor_says_what_is_broken_and_never_raises(tmp_path, monkeypatch):
    (tmp_path / "constraints.txt").write_text("# words\nno-such-package==1.0\nclick==0.1\ntriton==3.7.1\n")
    monkeypatch.setattr(doctor, "PROJECT", tmp_path)
    monkeypatch.setattr(doctor, "_cores", lambda: 1 / 0)
    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", no_file)
    found = {one.subject: one for one in doctor.examine(tmp_path / "runs")}
    assert found["no-such-package"].state == doctor.RED
    assert found["no-such-package"].mend == "make setup"
    assert found["click"].state == doctor.YELLOW
    assert found["runs"].state == doctor.RED
    assert any("ZeroDivisionError" in one.found for one in found.values())
    result = CliRunner().invoke(main, ["doctor", "--out", str(tmp_path / "runs")])
    assert result.exit_code == 1
    assert "broken  no-such-package: not installed -> make setup" in result.output


@pytest.mark.slow
def test_the_doctor_speaks_in_colours_on_a_terminal_only(tmp_path):
    """On a real terminal, with a store that cannot be: red for that, green for the rest, and what to do."""
    (tmp_path / "store").touch()
    command = [sys.executable, "-m", "lablib.app.cli", "doctor", "--out", str(tmp_path / "runs")]
    plain = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    environ = plain | {"TERM": "xterm-256color", "LAB_HOME": str(tmp_path / "store" / "home")}
    above, below = pty.openpty()
    with subprocess.Popen(command, env=environ, stdin=below, stdout=below, stderr=below) as process:
        os.close(below)
        text = b""
        with contextlib.suppress(OSError):  # how Linux says that the other side of a terminal is closed
            while piece := os.read(above, 4096):
                text += piece
        os.close(above)
    lines = text.decode().splitlines()
    (broken,) = (line for line in lines if "own store" in line)
    assert broken.startswith("\x1b[31mbroken\x1b[0m  own store: ")
    assert "Not a directory" in broken
    assert broken.endswith("-> name another folder (LAB_HOME, --out), or mend it")
    assert any(line.startswith("\x1b[32mok    \x1b[0m  python: 3.") for line in lines)
    assert process.returncode == 1
    piped = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert (piped.returncode, "\x1b" in piped.stdout) == (1, False)


def no_file(**_):
    raise OSError(28, "No space left on device")
