"""Where something usual is missing, such as a home or the width of a terminal, `lab` works or says so in a line."""

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from lablib.app import doctor
from lablib.app.cli import main
from lablib.core.store import lab_home

from .conftest import write_notebook

# a user that no list of users knows
NAMELESS = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
HOMELESS = ["env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME"]


def permitted(command: list[str]) -> bool:
    try:
        return subprocess.run([*command, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


@pytest.mark.slow  # it starts a kernel
def test_a_run_needs_neither_a_home_nor_an_entry_for_its_user(own_lab):
    if not permitted(NAMELESS):
        pytest.skip("this system gives no namespaces to its users")
    write_notebook(own_lab.folder, "homeless", "import os\nprint(os.path.expanduser('~'))")
    own_lab.prefix = ["sh", "-c", 'umask 077; exec "$@"', "sh", *NAMELESS, *HOMELESS]
    code, text = own_lab.run("run", "homeless.ipynb", "--scale", "smoke", "--out", str(own_lab.out))
    assert code == 0, text
    assert text.splitlines()[-1].startswith("report: ")
    assert not list(own_lab.folder.glob("~*"))


def test_a_home_is_given_where_there_is_none_and_a_width_of_nothing_is_not_believed(monkeypatch, tmp_path):
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    for name, width in (("", "0"), ("some", "1"), (None, "")):
        monkeypatch.setenv("COLUMNS", width)
        monkeypatch.delenv("HOME", raising=False)
        if name is not None:
            monkeypatch.setenv("HOME", name)
        CliRunner().invoke(main, ["report", "--help"])
        assert Path.home().is_absolute()
        assert "COLUMNS" not in os.environ
    assert Path.home() == lab_home()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "60")
    CliRunner().invoke(main, ["report", "--help"])
    assert (os.environ["HOME"], os.environ["COLUMNS"]) == (str(tmp_path), "60")


def test_a_tilde_that_no_shell_expanded_is_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LAB_HOME", "~/of the lab")
    assert lab_home() == tmp_path / "of the lab"


def no_folder():
    raise FileNotFoundError(2, "No usable temporary directory found in ['/tmp']")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"),
            "No usable temporary directory found",
        ),
        (PermissionError(13, "Permission denied", "/a/b"), "Permission denied: /a/b"),
        (OSError("told in words alone"), "told in words alone"),
    ],
)
def test_what_the_system_refuses_is_a_line(monkeypatch, error, said):
    def refuse(**_):
        raise error

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    result = CliRunner().invoke(main, ["verify", "ttt/toy"])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"lab: {said}")
    assert len(result.stderr.splitlines()) == 1


def no_processes(_):
    raise OSError(30, "no worker process can be started")


def test_the_doctor_names_each_thing_that_is_missing(monkeypatch, tmp_path):
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "dead"))
    monkeypatch.setattr(doctor.tempfile, "gettempdir", no_folder)
    monkeypatch.setattr(doctor, "fresh_processes", no_processes)
    found = {one.subject: one for one in doctor.examine(tmp_path / "dead")}
    for subject in ("own store", "runs", "disk", "disk for temporary files", "worker processes"):
        assert found[subject].state == doctor.RED, subject
        assert found[subject].mend
    assert "No usable temporary directory" in found["disk for temporary files"].found
