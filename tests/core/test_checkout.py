"""The commit of a number is that of the lab's own code, or unknown; another copy of the lab is noticed."""

import os
import stat
import subprocess
from pathlib import Path

import pytest

from lablib.core import checkout, provenance
from lablib.core.checkout import Unknown, changes, git, misplaced, own_commit

CODE = Path("lablib") / "core" / "provenance.py"
IDENTITY = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


def make_lab(folder: Path) -> Path:
    (folder / CODE).parent.mkdir(parents=True)
    (folder / CODE).write_text("the code\n")
    (folder / "pyproject.toml").write_text('[project]\nname = "longcontext-lab"\n')
    return folder


def commit(folder: Path, *paths: str) -> str:
    """Commit some files in a repository there; the first 12 digits of the commit."""
    git(folder, "init", "--quiet")
    git(folder, "add", *paths or ["."])
    git(folder, *IDENTITY, "commit", "--quiet", "--message", "some")
    return git(folder, "rev-parse", "--short=12", "HEAD")


@pytest.fixture
def lab(tmp_path) -> Path:
    return make_lab(tmp_path / "outer" / "a lab")


def facts(monkeypatch, folder: Path) -> tuple[str | None, bool | None]:
    """Commit and dirty flag as a number made by the code in that folder would say them."""
    monkeypatch.setattr(provenance, "own_commit", lambda: own_commit(folder))
    monkeypatch.setattr(provenance, "changes", lambda **how: changes(folder, **how))
    found = provenance._fixed_facts.__wrapped__()
    return found["commit"], found["dirty"]


def test_a_clean_and_a_changed_checkout_are_told_apart(lab, monkeypatch):
    made = commit(lab)
    assert facts(monkeypatch, lab) == (made, False)
    (lab / CODE).write_text("other code\n")
    assert facts(monkeypatch, lab) == (made, True)
    assert changes(lab, untracked=False) == [f" M {CODE}"]


def test_a_detached_head_a_worktree_and_a_submodule_have_their_own_commit(lab, monkeypatch, tmp_path):
    made = commit(lab)
    git(lab, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), "HEAD")
    outer = tmp_path / "super"
    outer.mkdir()
    (outer / "README").touch()
    commit(outer)
    git(outer, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(lab), "inner")
    for folder in (tmp_path / "tree", outer / "inner"):
        assert facts(monkeypatch, folder) == (made, False)


def around(lab):
    (lab.parent / "thesis.tex").touch()
    commit(lab.parent, "thesis.tex")


def around_and_holding_it(lab):
    commit(lab.parent)


def foreign_at_the_same_place(lab):
    (lab / "notes.txt").touch()
    commit(lab, "notes.txt")


def without_a_commit(lab):
    git(lab, "init", "--quiet")
    git(lab, "add", ".")


def none_at_all(lab):
    pass


def damaged(lab):
    commit(lab)
    (lab / ".git" / "HEAD").write_text("nonsense")


@pytest.mark.parametrize(
    ("repository", "reason"),
    [
        (around, "another project's; git clone the lab"),
        (around_and_holding_it, "another project's"),
        (foreign_at_the_same_place, "another project's"),
        (without_a_commit, "no commit"),
        (none_at_all, "not a git repository"),
        (damaged, "not a git repository"),
    ],
)
def test_where_the_lab_has_no_commit_of_its_own_both_are_unknown(lab, monkeypatch, repository, reason):
    repository(lab)
    monkeypatch.setattr(checkout, "_OF_THE_PERSON", (*checkout._OF_THE_PERSON, "GIT_CEILING_DIRECTORIES"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(lab.parent.parent))
    assert facts(monkeypatch, lab) == (None, None)
    with pytest.raises(Unknown, match=reason):
        own_commit(lab)


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY"]
)
def test_a_repository_that_the_environment_names_is_not_heeded(lab, monkeypatch, tmp_path, name):
    made, other = commit(lab), tmp_path / "other"
    other.mkdir()
    (other / "file").touch()
    commit(other)
    place = {"GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git" / "index"}.get(name, other / ".git")
    monkeypatch.setenv(name, str(place))
    assert facts(monkeypatch, lab) == (made, False)


def test_a_checkout_of_another_owner_has_no_state_and_not_a_clean_one(lab, monkeypatch):
    commit(lab)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own switch for its tests
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setattr(checkout, "_OF_THE_PERSON", ("GIT_TEST_ASSUME_DIFFERENT_OWNER", "GIT_CONFIG_NOSYSTEM"))
    monkeypatch.setenv("HOME", str(lab))  # no safe.directory
    assert facts(monkeypatch, lab) == (None, None)
    with pytest.raises(Unknown, match=r"dubious ownership.*; git config --global --add safe.directory '.*a lab'$"):
        own_commit(lab)


def test_the_habits_of_a_person_change_nothing_and_start_nothing(lab, monkeypatch, tmp_path):
    made = commit(lab)
    (lab / "new.py").touch()
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch '{tmp_path}/started'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    settings = (
        f"[status]\nshowUntrackedFiles = no\nbranch = true\n[core]\nfsmonitor = {program}\nhooksPath = {tmp_path}\n"
    )
    (tmp_path / ".gitconfig").write_text(settings + "[alias]\nstatus = log\n[color]\nui = always\n")
    (tmp_path / "post-checkout").symlink_to(program)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert facts(monkeypatch, lab) == (made, False)
    assert changes(lab, untracked=True) == ["?? new.py"]
    git(lab, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"), "HEAD")
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("raised", "reason"),
    [
        (FileNotFoundError(2, "No such file"), "git is not installed; install it"),
        (PermissionError(13, "Permission denied"), "git: Permission denied"),
        (subprocess.TimeoutExpired("git", 120), "no answer"),
    ],
)
def test_a_git_that_is_not_there_or_does_not_answer_leaves_both_unknown(lab, monkeypatch, raised, reason):
    def fail(*_, **__):
        raise raised

    commit(lab)
    monkeypatch.setattr(checkout.subprocess, "run", fail)
    assert facts(monkeypatch, lab) == (None, None)
    with pytest.raises(Unknown, match=reason):
        own_commit(lab)


def test_another_copy_of_the_lab_is_noticed_and_a_link_to_this_one_is_not(lab, monkeypatch, tmp_path):
    (lab / "notebooks").mkdir()
    assert str(lab) in misplaced(lab)
    assert "make setup" in misplaced(lab / "notebooks")
    monkeypatch.setattr(checkout, "PROJECT", lab)
    assert misplaced(lab / "notebooks") == ""
    (tmp_path / "link").symlink_to(lab)
    assert misplaced(tmp_path / "link") == ""
    assert misplaced(tmp_path) == ""
    inner = make_lab(lab / "inner")
    assert str(inner) in misplaced(inner / "lablib")
    monkeypatch.setattr(checkout, "PROJECT", inner)
    assert misplaced(inner / "lablib") == ""
    assert str(lab) in misplaced(lab)


def test_a_project_of_another_name_is_none_of_the_labs(tmp_path):
    (tmp_path / "pyproject.toml").write_bytes(b'[project]\nname = "thesis" # \xff\n')
    assert misplaced(tmp_path) == ""
    (tmp_path / "pyproject.toml").unlink()
    os.mkdir(tmp_path / "pyproject.toml")
    assert misplaced(tmp_path) == ""
