"""`lab doctor`: what works on this machine, in red, yellow and green, and how to mend the rest."""

import dataclasses
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from lablib.core.store import PROJECT, lab_home

GREEN, YELLOW, RED = "ok", "note", "broken"
GIB = 2**30
ORACLES = ("pytest", "beartype", "nbval", "import-linter", "ruff", "pyyaml", "datasets")  # for `make test` only
OPTIONAL = ("triton", "kaleido", "playwright", *ORACLES)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line: how it stands, what was looked at, what was found, and how to mend it."""

    state: str
    subject: str
    found: str
    mend: str = ""


def examine(out: Path) -> list[Finding]:
    """All findings; a look that itself fails is a finding too."""
    looks: list[Callable[[], Iterable[Finding]]] = [
        _python,
        _packages,
        _cores,
        _memory,
        lambda: _disk(out),
        _checkout,
        lambda: _writable("own store", lab_home()),
        lambda: _writable("runs", out),
        _corpus,
        _accelerators,
        _operators,
        _browser,
    ]
    findings: list[Finding] = []
    for look in looks:
        try:
            findings += look()
        except Exception as error:
            name = getattr(look, "__name__", "a look").strip("_<>")
            findings.append(Finding(YELLOW, name, f"could not be examined ({type(error).__name__}: {error})"))
    return findings


def _python() -> Iterable[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Finding(GREEN if good else RED, "python", version, "" if good else "the lab needs 3.11 or newer; make setup")
    if sys.prefix == sys.base_prefix and "CONDA_PREFIX" not in os.environ:
        yield Finding(YELLOW, "environment", "not a virtual environment", "make setup; then .venv/bin/lab")


def _packages() -> Iterable[Finding]:
    """Each package of constraints.txt: needed and missing is red, another version than the tested one yellow."""
    constraints = PROJECT / "constraints.txt"
    if not constraints.exists():
        yield Finding(YELLOW, "packages", "no constraints.txt to compare with", "run the lab from its own checkout")
        return
    same = 0
    for line in constraints.read_text().splitlines():
        match = re.fullmatch(r"([\w.-]+)==([\w.+!-]+)", line.split("#")[0].strip())
        if match is None:
            continue
        name, tested = match.groups()
        try:
            installed = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield _absent(name)
            continue
        if installed.partition("+")[0] == tested:
            same += 1
        else:
            yield Finding(YELLOW, name, f"{installed}; tested with {tested}", "make setup brings the tested version")
    yield Finding(GREEN, "packages", f"{same} at the tested versions")


def _absent(name: str) -> Finding:
    if name not in OPTIONAL:
        return Finding(RED, name, "not installed", "make setup")
    why = {
        "triton": "the kernels' notebook needs it (Linux)",
        "kaleido": "only `lab record --images` needs it",
        "playwright": "only `make test-browser` needs it, and installs it",
    }
    return Finding(YELLOW, name, "not installed", why.get(name, "only `make test` needs it; make setup"))


def _cores() -> Iterable[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    mend = "" if cores > 1 else "the lab scale takes twice as long; begin with --scale smoke"
    yield Finding(GREEN if cores > 1 else YELLOW, "cores", str(cores), mend)


def _memory() -> Iterable[Finding]:
    import psutil

    free = psutil.virtual_memory().available / GIB
    state = GREEN if free >= 4 else YELLOW if free >= 2 else RED
    mend = "" if state == GREEN else "close other programs, or run with --workers 1"
    yield Finding(state, "memory", f"{free:.1f} GiB free", mend)


def _disk(out: Path) -> Iterable[Finding]:
    for subject, folder in (("disk", _existing(out)), ("disk for temporary files", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free / GIB
        state = GREEN if free >= 2 else YELLOW if free >= 0.2 else RED
        yield Finding(state, subject, f"{free:.1f} GiB free", "" if state == GREEN else "make room; old runs may go")


def _checkout() -> Iterable[Finding]:
    mend = "numbers will not say which code made them; git clone the lab"
    if shutil.which("git") is None:
        yield Finding(YELLOW, "git", "not installed", mend)
        return
    asked = ["git", "-C", str(PROJECT), "rev-parse", "--short=12", "HEAD"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    if done.returncode == 0:
        yield Finding(GREEN, "git", f"commit {done.stdout.strip()}")
    else:
        yield Finding(YELLOW, "git", "not a checkout with a commit", mend)


def _writable(subject: str, folder: Path) -> Iterable[Finding]:
    """Whether files can be made there, tried for real in the nearest folder that exists."""
    place = _existing(folder)
    shown = os.path.relpath(folder)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"lab")
        yield Finding(GREEN, subject, f"{shown} can be written")
    except OSError as error:
        yield Finding(RED, subject, f"{shown}: {error.strerror}", "name another folder (LAB_HOME, --out), or mend it")


def _existing(folder: Path) -> Path:
    """The nearest place on the way to a folder that is there, be it a folder or a file in the way."""
    return next(place for place in [folder.absolute(), *folder.absolute().parents] if os.path.exists(place))


def _corpus() -> Iterable[Finding]:
    """The text corpus is the standard library's own sources, which some distributions leave out."""
    count = sum(1 for _ in Path(sysconfig.get_path("stdlib")).glob("*.py"))  # its top level: enough to know
    mend = "" if count > 100 else "install a whole Python (its .py sources are the text that models are trained on)"
    yield Finding(
        GREEN if count > 100 else RED, "corpus", f"{count} sources at the top level of the standard library", mend
    )


def _accelerators() -> Iterable[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    import torch

    if torch.cuda.is_available():
        yield Finding(GREEN, "GPU", torch.cuda.get_device_name(0))
    else:
        yield Finding(GREEN, "GPU", "none, and none is needed")
    if importlib.util.find_spec("triton") is not None:
        yield Finding(GREEN, "triton", importlib.metadata.version("triton"))


def _operators() -> Iterable[Finding]:
    """Which way each operator takes here, and why."""
    if importlib.util.find_spec("torch") is None:
        return
    from lablib.ops.backend import OPERATORS, way_here

    for operator in OPERATORS:
        way = way_here(operator)
        yield Finding(GREEN, operator, f"{way.backend}: {way.reason}")


def _browser() -> Iterable[Finding]:
    found = next((name for name in BROWSERS if shutil.which(name)), None)
    mend = (
        ""
        if found
        else "only `lab record --images` and `make test-browser` need one; apt install chromium, or set BROWSER_PATH"
    )
    yield Finding(GREEN if found else YELLOW, "browser for images and tests", found or "none", mend)
