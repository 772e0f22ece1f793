"""`lab` called in another copy of the lab than the one whose code it runs: said before anything is written."""

import pytest
from click.testing import CliRunner

from lablib.app import checks, doctor
from lablib.app.cli import main
from lablib.core.store import PROJECT

from .conftest import write_notebook
from .test_bad_input import refused


@pytest.fixture
def copy(tmp_path):
    """A copy, as far as it matters."""
    folder = tmp_path / "a copy"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "pyproject.toml").write_bytes((PROJECT / "pyproject.toml").read_bytes())
    write_notebook(folder / "notebooks", "01_good", "1 + 1")
    return folder


@pytest.mark.parametrize("below", [".", "notebooks"])
@pytest.mark.parametrize("words", ["run --scale smoke", "list", "record", "verify", "report last", "bench"])
def test_it_is_refused_in_the_copy_and_below_it(copy, monkeypatch, below, words):
    monkeypatch.chdir(copy / below)
    before = sorted(copy.rglob("*"))
    said = refused(*words.split())
    assert f"the lab in {copy} is not the one whose code runs" in said
    assert f"run `make setup` in {copy} and use its own .venv" in said
    assert sorted(copy.rglob("*")) == before


def test_a_notebook_of_the_copy_is_not_run_by_this_code(copy, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = str(copy / "notebooks" / "01_good.ipynb")
    assert "01_good.ipynb: the lab in " in refused("run", path, "--out", "runs")
    (copy / "pyproject.toml").unlink()  # a notebook of no lab runs with this one
    assert checks.find_notebooks([path])


def test_the_doctor_says_it_too(copy, monkeypatch):
    monkeypatch.chdir(copy)
    (found,) = (one for one in doctor.examine(copy / "runs") if one.subject == "code")
    assert found.state == doctor.RED
    assert str(copy) in found.found
    assert "broken  code: the lab in " in CliRunner().invoke(main, ["doctor"]).output


def test_a_link_to_this_lab_is_this_lab(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(PROJECT)
    monkeypatch.chdir(tmp_path / "link" / "lablib")
    assert CliRunner().invoke(main, ["report", "--help"]).exit_code == 0


def test_a_folder_that_is_gone_is_named(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert refused("list") == "lab: the current folder is gone; cd to another one\n"
