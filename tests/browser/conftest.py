"""One server, one browser and one smoke run for all tests; skipped where there is no Chromium to test with."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from browser.chromium import NONE, chromium, find_chromium
from browser.server import Server, jupyterlab
from lablib.core.store import PROJECT

PHOTOGRAPHS = PROJECT / ".lab" / "browser"


def pytest_sessionstart(session):
    """Take the photographs of earlier tests away, before any of the processes takes one."""
    if not hasattr(session.config, "workerinput") and why_not() is None:
        shutil.rmtree(PHOTOGRAPHS, ignore_errors=True)


def pytest_collection_modifyitems(items):
    if reason := why_not():
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


def why_not() -> str | None:
    """What these tests lack. Continuous integration takes no excuse but one: that there is no Chromium."""
    if find_chromium() is None:
        return NONE
    if importlib.util.find_spec("playwright") is None and not os.environ.get("CI"):
        return "playwright is not installed: make test-browser brings it"
    return None


@pytest.fixture(scope="session")
def browser():
    with chromium(find_chromium()) as running:
        yield running


@pytest.fixture(scope="session")
def server(browser, tmp_path_factory) -> Server:
    with jupyterlab(tmp_path_factory.mktemp("jupyterlab")) as running:
        yield running


@pytest.fixture(scope="session")
def report(smoke_run) -> Path:
    """The report of the smoke run of all notebooks."""
    assert smoke_run.code == 0, smoke_run.text
    return smoke_run.folder / "report.html"


@pytest.fixture(scope="session")
def photographs() -> Path:
    """A folder that is kept after the tests, for people to look into."""
    PHOTOGRAPHS.mkdir(parents=True, exist_ok=True)
    return PHOTOGRAPHS
