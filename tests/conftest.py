"""What every test gets: one thread, a store of its own, a seeded generator, and the notebooks, run once for all."""

import os
import signal
from pathlib import Path

import pytest
import sharing
import subjects


def pytest_addoption(parser):
    parser.addoption("--subject", help=f"only what belongs to one subject: {', '.join(subjects.SUBJECTS)}")


def pytest_configure(config):
    # before torch is imported: the bitwise laws are stated for one thread, and child processes inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if config.getoption("jaxtyping_packages", None):
        import type_checks  # here, as the tests of the kernels do without

        type_checks.install()
    # a suite started in the background ignores these, and so would each process that a test starts and then signals
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    subject = config.getoption("--subject")
    if subject and subject not in subjects.SUBJECTS:
        raise pytest.UsageError(f"there is no subject {subject!r}; expected one of: {', '.join(subjects.SUBJECTS)}")


def pytest_collection_modifyitems(config, items):
    """Leave out what does not belong to the subject; the order is that of `sharing`."""
    if subject := config.getoption("--subject"):
        kept = [item for item in items if subjects.belongs(item, subject)]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    items[:] = sharing.in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    return sharing.InGroups(config, log)


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """An empty LAB_HOME, and none of the caller's settings."""
    home = tmp_path / "lab-home"
    monkeypatch.setenv("LAB_HOME", str(home))
    for name in ("LAB_SCALE", "LAB_WORKERS", "LAB_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return home


@pytest.fixture(scope="session")
def smoke_run(request, tmp_path_factory):
    """`lab run --scale smoke` of the real notebooks: the only time that they are run, see `real_notebooks.SmokeRun`.

    Its products lie in the folder that LAB_TEST_PRODUCTS names. A run that is there already is used as it is, so that
    the tests in a browser, which are a process of their own, need no second one.
    """
    from real_notebooks import run_once

    named = os.environ.get("LAB_TEST_PRODUCTS")
    folder = Path(named).absolute() if named else tmp_path_factory.mktemp("notebooks")
    return run_once(folder, subjects.notebooks_of(request.config.getoption("--subject")))


@pytest.fixture
def generator():
    import torch  # here, so that tests without tensors do not pay for it

    return torch.Generator().manual_seed(1234)


@pytest.fixture
def refused(request):
    """`with refused(ValueError, "text")`: as pytest.raises, for arguments of a wrong type or shape.

    Under jaxtyping's hook the checker may speak before the code does: then a TypeError with its words.
    """
    checked = request.config.getoption("jaxtyping_packages", None)

    def expect(error: type[Exception], match: str):
        return pytest.raises((error, TypeError) if checked else error, match=None if checked else match)

    return expect
