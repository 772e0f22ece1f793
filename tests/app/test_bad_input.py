"""Bad input: one line that says what to do, exit code 2, no traceback, nothing written."""

import json

import pytest
from click.testing import CliRunner

from lablib.app import checks
from lablib.app.cli import main
from lablib.app.errors import BadInput
from lablib.app.notebook import lab_map
from lablib.app.run_state import NotebookRun, RunState

from .conftest import PARAMETERS, write_notebook


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with one good notebook, in which `lab` is called."""
    write_notebook(tmp_path, "good", "1 + 1")
    monkeypatch.chdir(tmp_path)
    for name in ("LAB_SCALE", "LAB_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def refused(*arguments: str) -> str:
    result = CliRunner().invoke(main, list(arguments), catch_exceptions=False)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("lab: ")
    return result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "there is no notebook 'nowhere'; expected a path, or a number or name of"),
        (["77"], "there is no notebook '77'"),
        (["away/good.ipynb"], "there is no notebook 'away/good.ipynb'"),
        (["notes.txt"], "notes.txt is not a notebook; expected a file that ends in .ipynb"),
        (["."], ". is not a notebook"),
        ([""], "an empty name is not a notebook"),
        (["a" * 300], "there is no notebook 'aaa"),
        (["folder.ipynb"], "folder.ipynb is not a notebook"),
        (["gone.ipynb"], "there is no notebook 'gone.ipynb'"),
        (["undecodable\udcff"], "there is no notebook 'undecodable"),
        (["good.ipynb", "other/good.ipynb"], "two of the notebooks are called good"),
        (["good.ipynb", "--scale", "huge"], "--scale is 'huge'; expected smoke, lab or full"),
        (["good.ipynb", "-p", "scale=huge"], "--scale is 'huge'; expected smoke, lab or full"),
        (["good.ipynb", "--scale", "lab", "-p", "scale=full"], "--scale lab and -p scale=full differ"),
        (["good.ipynb", "-p", "sead=1"], "no notebook has a parameter 'sead'; they have: rates, scale, seed"),
        (["good.ipynb", "-p", "seed=1.5"], "seed=1.5 does not fit; seed is int (the random seed)"),
        (["good.ipynb", "-p", "rates=fast"], "rates=fast does not fit; rates is list[float] (learning rates)"),
        (["good.ipynb", "-p", "scale="], "--scale is ''; expected smoke, lab or full"),
        (["good.ipynb", "-p", "=1"], "-p =1 is not of the form name=value"),
        (["good.ipynb", "-p", "seed=one"], "seed=one does not fit; seed is int (the random seed)"),
        (["good.ipynb", "-p", "seed"], "-p seed is not of the form name=value"),
        (["good.ipynb", "-p", "seed=https://ada:hunter2@host"], "-p seed holds a secret, and runs keep their"),
        (["good.ipynb", "-p", "seed=1", "-p", "seed=2"], "-p seed is given twice, as 1 and as 2"),
        (["good.ipynb", "-p", "interactive=True"], "never draws widgets"),
        (["good.ipynb", "--workers", "0"], "--workers is 0; expected a whole number of at least 1"),
        (["good.ipynb", "--workers", "-1"], "--workers is -1; expected a whole number of at least 1"),
        (["good.ipynb", "--workers", "two"], "'two' is not a valid int"),
        (["good.ipynb", "--timeout", "-5"], "--timeout is -5; expected seconds above 0"),
        (["good.ipynb", "--timeout", "0"], "--timeout is 0; expected seconds above 0"),
        (["good.ipynb", "--timeout", "inf"], "--timeout is inf; expected seconds above 0"),
        (["good.ipynb", "--timeout", "soon"], "'soon' is not a valid float"),
        (["good.ipynb", "--timeout", "nan"], "--timeout is nan; expected seconds above 0"),
        (["good.ipynb", "--out", "notes.txt"], "notes.txt is a file; name a folder"),
        (["good.ipynb", "--out", "notes.txt/runs"], "notes.txt is a file; name a folder"),
        (["good.ipynb", "--out", ""], "--out is empty; name a folder"),
        (["good.ipynb", "--out", "gone.ipynb/runs"], "gone.ipynb is a link to nowhere; name a folder"),
        (["good.ipynb", "--out", "a" * 300], "File name too long; name another folder"),
        (["--resume", "last", "--out", "notes.txt"], "notes.txt is a file; name a folder"),
        (["--resume", "last", "--out", "a" * 300], "File name too long; name another folder"),
        (["--resume", ""], "there is no run ''"),
        (["--resume", "20200101T000000Z-0000"], "there is no run '20200101T000000Z-0000'"),
        (["--resume", "../other"], "there is no run '../other'"),
        (["good.ipynb", "--resume", "last"], "--resume takes notebooks, scale and parameters from the run"),
        (["good.ipynb", "--unknown"], "No such option '--unknown'"),
        (["broken.ipynb"], "broken.ipynb is not valid JSON"),
        (["list.ipynb"], "list.ipynb is not a notebook of nbformat 4 (found 'list')"),
        (["old.ipynb"], "old.ipynb is not a notebook of nbformat 4 (found 3)"),
        (["invalid.ipynb"], "invalid.ipynb is not a valid notebook"),
        (["binary.ipynb"], "binary.ipynb cannot be read: it is not UTF-8 text"),
        (["untagged.ipynb"], "untagged.ipynb has no code cell tagged `parameters`; tag exactly one"),
        (["doubled.ipynb"], "doubled.ipynb has 2 cells tagged `parameters`"),
        (["magic.ipynb"], "magic.ipynb: its parameters cell is not plain Python (line 1)"),
    ],
)
def test_lab_run_refuses_and_writes_nothing(folder, arguments, said):
    write_faulty(folder)
    before = sorted(folder.rglob("*"))
    out = [] if "--out" in arguments else ["--out", "runs"]
    assert said in refused("run", *arguments, *out)
    assert sorted(folder.rglob("*")) == before


def write_faulty(folder):
    (folder / "notes.txt").write_text("no notebook")
    (folder / "folder.ipynb").mkdir()
    (folder / "gone.ipynb").symlink_to("nowhere.ipynb")
    (folder / "broken.ipynb").write_text('{"cells": [')
    (folder / "list.ipynb").write_text("[]")
    (folder / "old.ipynb").write_text('{"nbformat": 3, "worksheets": []}')
    (folder / "binary.ipynb").write_bytes(b"\xff\xfe\x00")
    write_notebook(folder / "other", "good", "1 + 1")
    write_notebook(folder, "untagged", "1 + 1", parameters=None)
    write_notebook(folder, "magic", "1 + 1", parameters="%time seed = 0")
    doubled = json.loads(write_notebook(folder, "doubled", PARAMETERS).read_text())
    doubled["cells"][-1]["metadata"]["tags"] = ["parameters"]
    (folder / "doubled.ipynb").write_text(json.dumps(doubled))
    del doubled["cells"][0]["source"]
    (folder / "invalid.ipynb").write_text(json.dumps(doubled))


@pytest.mark.parametrize(
    ("name", "value"), [("LAB_SCALE", "huge"), ("LAB_WORKERS", "many"), ("LAB_HOME", "good.ipynb/x")]
)
def test_a_bad_environment_is_named(folder, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert name in refused("run", "good.ipynb", "--out", "runs")
    assert not (folder / "runs").exists()


def test_resume_checks_its_own_options_too(folder):
    out = folder / "runs" / "20260101T000000Z-abcd"
    out.mkdir(parents=True)
    fields = {"scale": "smoke", "parameters": {"seed": "1"}, "timeout": 9.0, "provenance": {}, "status": "failed"}
    lacking = NotebookRun(name="good", path="../../good.ipynb", question="", given={}, parameters={}, status="failed")
    RunState(folder=out, workers=1, notebooks=[lacking], **fields).save()
    before = (out / "run.json").read_text()
    assert "--workers is 0" in refused("run", "--resume", "last", "--workers", "0", "--out", "runs")
    assert "--timeout is 0" in refused("run", "--resume", "last", "--timeout", "0", "--out", "runs")
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("LAB_HOME", "good.ipynb")
        assert "LAB_HOME good.ipynb: good.ipynb is a file" in refused("run", "--resume", "last", "--out", "runs")
    good = (folder / "good.ipynb").read_text()
    (folder / "good.ipynb").write_text(good[:100])
    assert "good.ipynb is not valid JSON" in refused("run", "--resume", "last", "--out", "runs")
    (folder / "good.ipynb").write_text(good.replace('"parameters"', '"other"'))
    assert "no code cell tagged `parameters`" in refused("run", "--resume", "last", "--out", "runs")
    (folder / "good.ipynb").unlink()
    assert "needs ../../good.ipynb, which is gone" in refused("run", "--resume", "last", "--out", "runs")
    assert (out / "run.json").read_text() == before


def test_the_rest_of_a_run_need_not_have_all_its_parameters(tmp_path):
    path = write_notebook(tmp_path, "plain", "1", parameters="depth: int = 2")
    [checked] = checks.check_notebooks([path], "lab", {"seed": "1"}, all_known=False)
    assert checked.given == {}


def test_an_unknown_run_and_a_damaged_one_cannot_be_reported(folder):
    assert "there is no run 'x'; the newest are: none yet" in refused("report", "x", "--out", "runs")
    (folder / "notes.txt").touch()
    assert "notes.txt is a file; name a folder" in refused("report", "last", "--out", "notes.txt")
    assert "--out is empty" in refused("report", "last", "--out", "")
    assert "Missing argument 'ID'" in refused("report")
    assert not (folder / "runs").exists()
    (folder / "runs" / "20260101T000000Z-abcd").mkdir(parents=True)
    (folder / "runs" / "20260101T000000Z-abcd" / "run.json").write_text('{"schema": 1, "id"')
    assert "no readable run.json" in refused("report", "last", "--out", "runs")


def test_notebooks_are_found_by_number_name_and_path(tmp_path, monkeypatch):
    first = write_notebook(tmp_path, "01_seesaw_effect", "1")
    write_notebook(tmp_path, "02_swa_warmup", "1")
    write_notebook(tmp_path, "draft", "1")
    monkeypatch.setattr(checks, "NOTEBOOKS", tmp_path)
    for name in ("01", "1", "01_seesaw_effect", "01_seesaw_effect.ipynb", str(first)):
        assert checks.find_notebooks([name]) == [first]
    assert checks.find_notebooks(["1", str(first)]) == [first]
    assert [path.stem for path in checks.find_notebooks([])] == ["01_seesaw_effect", "02_swa_warmup"]
    with pytest.raises(BadInput, match="01_seesaw_effect, 02_swa_warmup"):
        checks.find_notebooks(["001"])


def test_a_copy_is_run_only_where_it_is_named_whole(tmp_path, monkeypatch):
    first = write_notebook(tmp_path, "00_start_here", "1")
    copies = ["00_start_here-Copy1", "00_start_here (1)", "00_start here", "00_start_here.nbconvert", "Untitled"]
    for name in copies:
        write_notebook(tmp_path, name, "1")
    write_notebook(tmp_path / ".ipynb_checkpoints", "00_start_here-checkpoint", "1")
    (tmp_path / "01_folder.ipynb").mkdir()
    monkeypatch.setattr(checks, "NOTEBOOKS", tmp_path)
    monkeypatch.setattr("lablib.app.notebook.NOTEBOOKS", tmp_path)
    assert checks.find_notebooks([]) == checks.find_notebooks(["00"]) == checks.find_notebooks(["0"]) == [first]
    for name in copies:
        assert checks.find_notebooks([name]) == checks.find_notebooks([f"{name}.ipynb"]) == [tmp_path / f"{name}.ipynb"]
    for name in ("00_start_here-checkpoint", "01", "01_folder", ".ipynb_checkpoints/00_start_here-checkpoint"):
        with pytest.raises(BadInput, match=f"there is no notebook '{name}'"):
            checks.find_notebooks([name])
    assert [name for name, _, state in lab_map() if state == "here"] == ["00_start_here"]


def test_a_number_of_two_notebooks_is_refused_and_their_names_are_not(tmp_path, monkeypatch):
    paths = [write_notebook(tmp_path, f"00_{name}", "1") for name in ("start_here", "start_here_old")]
    monkeypatch.setattr(checks, "NOTEBOOKS", tmp_path)
    both = "0 is the number of 00_start_here and of 00_start_here_old; give the name of one of them"
    with pytest.raises(BadInput, match=both):
        checks.find_notebooks(["0"])
    assert checks.find_notebooks(["00_start_here", "00_start_here_old"]) == checks.find_notebooks([]) == paths


def test_a_parameter_of_some_notebooks_goes_to_those_and_is_noted(tmp_path):
    paths = [write_notebook(tmp_path, "a", "1"), write_notebook(tmp_path, "b", "1", parameters="depth: int = 2")]
    checked = checks.check_notebooks(paths, "lab", {"depth": "3"})
    assert [one.given for one in checked] == [{"scale": "lab", "interactive": False}, {"depth": 3}]
    assert checks.missing_notes(checked, {"depth": "3"}) == ["note: depth is no parameter of a"]


def test_the_scale_is_the_given_one_else_the_environments_else_lab(monkeypatch):
    monkeypatch.setenv("LAB_SCALE", "smoke")
    assert checks.chosen_scale(None, {}) == "smoke"
    assert checks.chosen_scale("full", {"scale": "full"}) == "full"
    monkeypatch.delenv("LAB_SCALE")
    assert checks.chosen_scale(None, {}) == "lab"
