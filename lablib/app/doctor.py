"""`lab doctor`: what works on this machine, in red, yellow and green, and how to mend the rest."""

import dataclasses
import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lablib.app.checks import existing
from lablib.core.checkout import PROJECT, Unknown, misplaced, own_commit
from lablib.core.cores import core_count
from lablib.core.files import lab_home
from lablib.core.pool import fresh_processes
from lablib.core.provenance import package_version

GREEN, YELLOW, RED = "ok", "note", "broken"
GIB = 2**30
ORACLES = ("pytest", "beartype", "nbval", "import-linter", "ruff", "pyyaml", "datasets")  # for `make test` only
# what needs a package that the lab does without
OPTIONAL = dict.fromkeys(ORACLES, "only `make test` needs it; make setup") | {
    "triton": "the kernels' notebook needs it (Linux)",
    "kaleido": "only `lab record --images` needs it",
    "playwright": "only `make test-browser` needs it, and installs it",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line: how it stands, what was looked at, what was found, and how to mend it if it is not well."""

    state: str
    subject: str
    found: str
    mend: str = ""


def examine(out: Path) -> list[Finding]:
    """All findings; a look that itself fails is a finding too."""
    folders = (lambda: _disks(out), lambda: _writable("own store", lab_home()), lambda: _writable("runs", out))
    looks = (_python, _packages, _cores, _workers, _memory, *folders, _checkout, _corpus, _accelerators, _browser)
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look()
        except Exception as error:
            name = getattr(look, "__name__", "a look").strip("_<>")
            findings.append(Finding(YELLOW, name, f"could not be examined ({type(error).__name__}: {error})"))
    return findings


def _python() -> Iterable[Finding]:
    state = GREEN if sys.version_info >= (3, 11) else RED
    yield Finding(state, "python", platform.python_version(), "the lab needs 3.11 or newer; make setup")
    if sys.prefix == sys.base_prefix and "CONDA_PREFIX" not in os.environ:
        yield Finding(YELLOW, "environment", "not a virtual environment", "make setup; then .venv/bin/lab")


def _packages() -> Iterable[Finding]:
    """Each package of constraints.txt: needed and missing is red, another version than the tested one yellow."""
    constraints = PROJECT / "constraints.txt"
    if not constraints.exists():
        yield Finding(YELLOW, "packages", "no constraints.txt to compare with", "run the lab from its own checkout")
        return
    same = 0
    for name, tested in re.findall(r"^\s*([\w.-]+)==([\w.+!-]+)\s*(?:#.*)?$", constraints.read_text(), re.MULTILINE):
        installed = package_version(name)
        if installed is None:
            state = YELLOW if name in OPTIONAL else RED
            yield Finding(state, name, "not installed", OPTIONAL.get(name, "make setup"))
        elif installed.partition("+")[0] == tested:
            same += 1
        else:
            yield Finding(YELLOW, name, f"{installed}; tested with {tested}", "make setup brings the tested version")
    yield Finding(GREEN, "packages", f"{same} at the tested versions")


def _cores() -> Iterable[Finding]:
    cores, mend = core_count(), "the lab scale takes twice as long; begin with --scale smoke"
    yield Finding(GREEN if cores > 1 else YELLOW, "cores", str(cores), mend)


def _workers() -> Iterable[Finding]:
    try:
        fresh_processes(1).shutdown()
        yield Finding(GREEN, "worker processes", "can be started")
    except OSError as error:
        yield Finding(RED, "worker processes", error.strerror, "in a container: --tmpfs /dev/shm")


def _memory() -> Iterable[Finding]:
    import psutil

    yield _room("memory", psutil.virtual_memory().available, 4.0, 2.0, "close other programs, or run with --workers 1")


def _disks(out: Path) -> Iterable[Finding]:
    for subject, folder in (("disk", lambda: existing(out)), ("disk for temporary files", tempfile.gettempdir)):
        try:
            yield _room(subject, shutil.disk_usage(folder()).free, 2.0, 0.2, "make room; old runs may go")
        except OSError as error:
            yield Finding(RED, subject, error.strerror, "name a folder that can be written (TMPDIR, --out)")


def _room(subject: str, free: int, enough: float, least: float, mend: str) -> Finding:
    """Free bytes held against two sizes in GiB: below `enough` is a note, below `least` broken."""
    state = GREEN if free >= enough * GIB else YELLOW if free >= least * GIB else RED
    return Finding(state, subject, f"{free / GIB:.1f} GiB free", mend)


def _checkout() -> Iterable[Finding]:
    if words := misplaced(Path.cwd()):
        yield Finding(RED, "code", words, "or call `lab` in another folder")
    try:
        yield Finding(GREEN, "git", f"commit {own_commit()}")
    except Unknown as reason:
        yield Finding(YELLOW, "git", f"the commit is unknown: {reason}", "until then numbers name no code")


def _writable(subject: str, folder: Path) -> Iterable[Finding]:
    """Whether files can be made there, tried for real in the nearest folder that exists."""
    shown = os.path.relpath(folder)
    try:
        with tempfile.TemporaryFile(dir=existing(folder)) as file:
            file.write(b"lab")
        yield Finding(GREEN, subject, f"{shown} can be written")
    except OSError as error:
        yield Finding(RED, subject, f"{shown}: {error.strerror}", "name another folder (LAB_HOME, --out), or mend it")


def _corpus() -> Iterable[Finding]:
    """The text corpus is the standard library's own sources, which some distributions leave out."""
    count = sum(1 for _ in Path(sysconfig.get_path("stdlib")).glob("*.py"))  # its top level: enough to know
    found = f"{count} sources at the top level of the standard library"
    mend = "install a whole Python (its .py sources are the text that models are trained on)"
    yield Finding(GREEN if count > 100 else RED, "corpus", found, mend)


def _accelerators() -> Iterable[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "none, and none is needed"
    yield Finding(GREEN, "GPU", gpu)
    if triton := package_version("triton"):
        yield Finding(GREEN, "triton", triton)
    from lablib.ops.backend import OPERATORS, way_here

    for operator in OPERATORS:  # which way each takes here, and why
        way = way_here(operator)
        yield Finding(GREEN, operator, f"{way.backend}: {way.reason}")


def _browser() -> Iterable[Finding]:
    found = next((name for name in BROWSERS if shutil.which(name)), None)
    mend = "only `lab record --images` and `make test-browser` need one; apt install chromium, or set BROWSER_PATH"
    yield Finding(GREEN if found else YELLOW, "browser for images and tests", found or "none", mend)
