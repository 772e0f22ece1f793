"""`make setup`: an environment that is whole and belongs to this folder, or none and a sentence."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lablib.core.store import PROJECT

# stands in for pip: all that it installs is the way to the lab, as an editable install does
PIP = """\
import os, sys, sysconfig
from pathlib import Path
if "install" in sys.argv:
    Path("installs").open("a").write("x")
    if os.environ.get("OFFLINE"):
        sys.exit("no network")
    Path(sysconfig.get_path("purelib"), "lab.pth").write_text(os.getcwd())
"""
# a Python that brings this pip along, or, like Debian's without python3-venv, none
PYTHON = """\
#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then
    '{python}' "$@" --without-pip || exit
    [ -z "$NO_PIP" ] || {{ echo "ensurepip is not available"; exit $NO_PIP; }}
    cp -r '{pip}' "$3"/lib/python3*/site-packages/
else
    exec '{python}' "$@"
fi
"""


class Place:
    """A lab in a folder, of which `make setup` needs no more than this."""

    def __init__(self, folder: Path, python: Path):
        self.folder, self.python, self.venv = folder, python, folder / ".venv"

    def make(self, *words: str, code: int = 0, **environ: str) -> str:
        """What `make setup` says; the test fails where its exit code is another one."""
        command = ["make", "--no-print-directory", *(words or ("setup", f"PYTHON={self.python}"))]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAKE"))}
        done = subprocess.run(command, cwd=self.folder, env=kept | environ, capture_output=True, text=True)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def code_that_runs(self) -> Path:
        """Where the lablib lies that the environment imports."""
        command = [self.venv / "bin" / "python", "-I", "-c", "import lablib; print(*lablib.__path__)"]
        return Path(subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()).parent

    @property
    def installs(self) -> int:
        return len((self.folder / "installs").read_text())


@pytest.fixture
def place(tmp_path) -> Place:
    pip = tmp_path / "pip"
    pip.mkdir()
    (pip / "__init__.py").touch()
    (pip / "__main__.py").write_text(PIP)
    python = tmp_path / "a python"
    python.write_text(PYTHON.format(python=sys.executable, pip=pip))
    python.chmod(0o755)
    folder = tmp_path / "my lab"
    (folder / "lablib").mkdir(parents=True)
    for name in ("lablib/__init__.py", "pyproject.toml", "constraints.txt"):
        (folder / name).touch()
    shutil.copy(PROJECT / "Makefile", folder)
    return Place(folder, python)


def test_an_environment_is_made_once_and_kept(place):
    for _ in range(2):
        place.make()
    assert place.installs == 1
    assert place.code_that_runs() == place.folder
    os.utime(place.folder / "pyproject.toml", (2**32, 2**32))  # other requirements: installed into the same one
    (place.venv / "mark").touch()
    place.make()
    assert (place.installs, (place.venv / "mark").exists()) == (2, True)


@pytest.mark.parametrize("move", [shutil.copytree, shutil.move], ids=["copied", "moved"])
def test_in_a_copied_or_moved_project_it_is_made_anew(place, move, tmp_path):
    place.make()
    move(place.folder, tmp_path / "elsewhere", **({"symlinks": True} if move is shutil.copytree else {}))
    other = Place(tmp_path / "elsewhere", place.python)
    assert "was made for another folder: it is made anew" in other.make()
    assert other.code_that_runs() == other.folder
    assert "Nothing to be done" in other.make()


def test_a_copy_whose_stamp_says_nothing_is_known_by_the_code_that_it_runs(place, tmp_path):
    place.make()
    (place.venv / ".installed").write_text("")  # as older Makefiles left it
    assert "Nothing to be done" in place.make()
    shutil.copytree(place.folder, tmp_path / "elsewhere", symlinks=True)
    other = Place(tmp_path / "elsewhere", place.python)
    assert other.code_that_runs() == place.folder
    assert "made anew" in other.make("check", f"PYTHON={place.python}", code=2)  # which has no ruff here
    assert other.code_that_runs() == other.folder


def test_a_link_to_the_project_is_not_another_place(place, tmp_path):
    place.make()
    (tmp_path / "link").symlink_to(place.folder)
    assert "Nothing to be done" in Place(tmp_path / "link", place.python).make()


def test_an_environment_that_is_a_link_is_replaced_and_what_it_leads_to_stays(place, tmp_path):
    place.make()
    shutil.copytree(place.folder, tmp_path / "elsewhere", ignore=shutil.ignore_patterns(".venv"))
    other = Place(tmp_path / "elsewhere", place.python)
    other.venv.symlink_to(place.venv)
    assert "made anew" in other.make()
    assert (other.code_that_runs(), place.code_that_runs()) == (other.folder, place.folder)


@pytest.mark.parametrize("lost", ["bin/python", "bin", "lib", "lib/*/site-packages/pip", "lib/*/site-packages/lab.pth"])
def test_a_half_deleted_one_is_made_anew(place, lost):
    place.make()
    for path in place.venv.glob(lost):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "made anew" in place.make()
    assert place.code_that_runs() == place.folder


@pytest.mark.parametrize("code", ["1", "0"])
def test_without_ensurepip_there_is_none_and_a_sentence_says_what_to_install(place, code):
    for _ in range(2):
        assert "install its venv (Debian: apt install python3-venv)" in place.make(code=2, NO_PIP=code)
        assert not place.venv.exists()
    place.make()
    assert place.code_that_runs() == place.folder


def test_one_without_pip_or_of_an_old_python_is_not_taken_for_good(place):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place.venv], check=True)
    assert "made anew" in place.make()
    python = place.venv / "bin" / "python"
    (place.venv / ".installed").unlink()
    python.unlink()
    python.write_text("#!/bin/sh\nexit 1\n")  # the answer of an old Python to the question whether it is new enough
    python.chmod(0o755)
    assert "made anew" in place.make()
    assert place.code_that_runs() == place.folder


def test_an_installation_that_failed_goes_on_at_the_next_call(place):
    assert "pip has not installed the lab" in place.make(code=2, OFFLINE="1")
    (place.venv / "mark").touch()
    place.make()
    assert place.code_that_runs() == place.folder
    assert (place.venv / "mark").exists()


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (None, "There is no Python at "),
        ("echo Python 3.9.2; exit 1", "The lab needs Python 3.11 or newer, found Python 3.9.2"),
    ],
)
def test_no_python_or_an_old_one_is_said_in_a_sentence_and_nothing_is_made(place, script, said):
    place.python.unlink()
    if script:
        place.python.write_text(f"#!/bin/sh\n{script}\n")
        place.python.chmod(0o755)
    text = place.make(code=2)
    assert said in text
    assert "make setup PYTHON=/path/to/python3.11" in text
    assert not place.venv.exists()
