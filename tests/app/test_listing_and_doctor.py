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
from lablib.app.run_state import NotebookRun, RunState
from lablib.core.store import Record, Store, lab_home, write_atomically

from .conftest import write_notebook
from .tiny_lab import lab, make_checkout


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
    RunState(folder=folder, notebooks=[one], **fields).save()


def test_list_shows_questions_and_the_newest_run(notebooks, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    keep_run(notebooks / "runs", "20260101T000000Z-aaaa", status="failed", wall_seconds=1.0)
    keep_run(notebooks / "runs", "20260102T000000Z-bbbb", status="ok", wall_seconds=65.0)
    lines = list(listing.notebook_lines(notebooks / "runs"))
    assert lines[0] == "01_first   ok, smoke, 1:05, 20260102T000000Z-bbbb  Does **01_first** hold?"
    assert lines[1].split() == ["02_second", "never", "run", "Does", "**02_second**", "hold?"]
    assert "not valid JSON" in lines[2]
    assert all(len(line) <= 120 for line in lines)
    monkeypatch.setenv("COLUMNS", "60")
    assert list(listing.notebook_lines(notebooks / "runs"))[2].endswith(" ...")


def recorded_tiny(project):
    """The tiny lab with one arm recorded, another one computed by a person, and a failed one."""
    code, text = lab(project, "record", "--workers", "1", BREAK="1")
    assert code == 1, text
    results, own = project / "notebooks" / "results", Store(lab_home())
    one, two = Record(results).load("longcontext/tiny")
    Record(results).save("longcontext/tiny", [one])
    own.save(two)
    failed = Store(project / ".lab" / "record").path("longcontext/tiny", "x").parent
    for path in failed.glob("*.json"):
        if '"failed"' in path.read_text():
            write_atomically(own.path("longcontext/tiny", path.stem), path.read_text())
    (results / "longcontext" / "tiny.csv").unlink()  # counting reads no table


@pytest.mark.slow
def test_list_counts_arms_by_subject_and_by_experiment_without_reading_a_table(tmp_path):
    project = make_checkout(tmp_path)
    recorded_tiny(project)
    for _ in range(2):  # the second time from what the first kept
        code, text = lab(project, "list")
        assert code == 0, text
        head, line = (row.split() for row in text.splitlines()[-2:])
        assert head == ["subject", "experiments", "arms", "own", "recorded", "missing"]
        assert line == ["longcontext", "1", "3", "1", "1", "1"]
    path = project / "lablib" / "longcontext" / "experiments.py"
    path.write_text(path.read_text().replace("range(3)", "range(5)"))
    assert lab(project, "list")[1].split()[-6:] == ["longcontext", "1", "5", "1", "1", "3"]
    code, text = lab(project, "list", "longcontext")
    assert code == 0, text
    head, *lines = (row.split() for row in text.splitlines())
    assert head == ["experiment", "scale", "arms", "own", "recorded", "missing"]
    assert lines == [["longcontext/tiny", scale, "5", "1", "1", "3"] for scale in ("smoke", "lab", "full")]
    code, text = lab(project, "list", "ttt")
    assert (code, text) == (2, "lab: there is no subject 'ttt'; expected one of: longcontext\n")


def test_list_knows_its_subjects_without_torch():
    """Once the arms are known, which takes torch."""
    said = []
    for what in ("full_arms", "subject_lines"):
        program = f"import sys; from lablib.app import listing; print(*listing.{what}(), 'torch' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        said.append(done.stdout.split())
    assert {name.partition("/")[0] for name in said[0]} >= {"longcontext", "speed", "ttt"}
    assert [words[-1] for words in said] == ["True", "False"]


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
