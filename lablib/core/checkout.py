"""The checkout that this code lies in: its folder, its commit, and whether a person stands in another one."""

import os
import subprocess
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
RESULTS = "notebooks/results"  # what `lab record` writes
_NAME = 'name = "longcontext-lab"'  # in the pyproject.toml of the lab, and of no other project
_OF_THE_PERSON = ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
# a person's habits that start programs, or change what is looked at
_PLAIN = ("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")


class Unknown(ValueError):
    """What git cannot say of a checkout; the text is the reason, and what to do."""


def git(project: Path, *arguments: str) -> str:
    """What git says of the repository in a folder, whatever repository the environment names. Raises Unknown."""
    # a commit hook that calls `lab` would hand its own repository on, and so would an exported GIT_DIR
    environ = {name: value for name, value in os.environ.items() if name[:4] != "GIT_" or name in _OF_THE_PERSON}
    how = {"capture_output": True, "text": True, "errors": "replace", "timeout": 120, "check": True}
    try:
        command = ["git", "--no-optional-locks", *_PLAIN, *arguments]
        return subprocess.run(command, cwd=project, env=environ, **how).stdout.strip("\n")
    except OSError as error:
        words = "git is not installed; install it"
        raise Unknown(words if isinstance(error, FileNotFoundError) else f"git: {error.strerror}") from None
    except subprocess.TimeoutExpired:
        raise Unknown("git gave no answer in two minutes; try again") from None
    except subprocess.CalledProcessError as error:
        first = next(iter(error.stderr.splitlines()), "git does not say why").removeprefix("fatal: ")
        owned = f"git config --global --add safe.directory '{project}'"  # git's own advice
        raise Unknown(f"{first}; {owned}" if "dubious ownership" in first else first) from None


def own_commit(project: Path = PROJECT) -> str:
    """The commit that the lab in a folder is checked out at, in 12 digits or more. Raises Unknown.

    A repository that only surrounds the folder, or does not hold the lab's code, has no say.
    """
    code = "lablib/core/provenance.py"
    git(project, "rev-parse", "--git-dir")  # first, for its reason why there is none
    try:
        held = git(project, "ls-files", "--full-name", "--error-unmatch", "--", code)
    except Unknown:
        held = "nothing"
    if held != code:
        raise Unknown("the repository around the lab is another project's; git clone the lab")
    try:
        return git(project, "rev-parse", "--verify", "--short=12", "HEAD")
    except Unknown:
        raise Unknown("the repository has no commit; git commit") from None


def changes(project: Path = PROJECT, *, untracked: bool, besides: str = "") -> list[str]:
    """A line for each file that is not as it was committed, those below `besides` left out. Raises Unknown."""
    how = ["--porcelain", f"--untracked-files={'normal' if untracked else 'no'}", "--ignore-submodules=none"]
    places = ["--", ".", f":(exclude){besides}"] if besides else []
    return git(project, "status", *how, *places).splitlines()


def misplaced(place: Path) -> str:
    """A sentence where a folder belongs to another copy of the lab than the code that runs; else an empty string."""
    for folder in (place, *place.parents):
        if _is_lab(folder):
            words = f"the lab in {folder} is not the one whose code runs, which lies in {PROJECT}"
            return "" if folder.samefile(PROJECT) else f"{words}; run `make setup` in {folder} and use its own .venv"
    return ""


def _is_lab(folder: Path) -> bool:
    try:
        return _NAME in (folder / "pyproject.toml").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
