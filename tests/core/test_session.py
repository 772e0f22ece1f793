"""A session settles the scale, and whether there is a person."""

import pytest

from lablib.core.session import session


def test_a_notebook_of_another_copy_of_the_lab_is_not_run_by_this_code(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert session().scale == "lab"
    (tmp_path / "pyproject.toml").write_text('name = "longcontext-lab"')
    with pytest.raises(ValueError, match=f"the lab in {tmp_path} is not the one whose code runs.*run `make setup`"):
        session()


def test_without_any_word_it_is_lab_scale_with_a_person():
    assert session() == session("lab", True)
    assert (session().scale, session().interactive) == ("lab", True)


@pytest.mark.parametrize("scale", ["smoke", "lab", "full"])
def test_only_smoke_runs_in_process(scale):
    assert session(scale).in_process == (scale == "smoke")


def test_the_environment_decides_what_the_notebook_leaves_open(monkeypatch):
    monkeypatch.setenv("LAB_SCALE", "smoke")
    monkeypatch.setenv("LAB_INTERACTIVE", "0")
    assert session() == session("smoke", False)
    assert session("full", True).scale == "full"
    assert session("full", True).interactive


@pytest.mark.parametrize(("text", "expected"), [("1", True), ("0", False), ("", True)])
def test_interactive_is_one_or_zero(text, expected, monkeypatch):
    monkeypatch.setenv("LAB_INTERACTIVE", text)
    assert session().interactive is expected


@pytest.mark.parametrize("text", ["yes", "true", "2", " 1"])
def test_anything_else_is_refused_by_name(text, monkeypatch):
    monkeypatch.setenv("LAB_INTERACTIVE", text)
    with pytest.raises(ValueError, match=f"LAB_INTERACTIVE is '{text}'; expected 0 or 1"):
        session()
    assert session(interactive=False).interactive is False


def test_an_unknown_scale_is_refused_by_name():
    with pytest.raises(ValueError, match="scale is 'huge'; expected one of smoke, lab, full"):
        session("huge")
