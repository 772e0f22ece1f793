"""What every test gets: one thread, a store of its own, and, if it asks, a seeded generator."""

import os

import pytest


def pytest_configure():
    # before torch is imported: the bitwise laws are stated for one thread, and child processes inherit it
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    """An empty LAB_HOME, and none of the caller's settings."""
    home = tmp_path / "lab-home"
    monkeypatch.setenv("LAB_HOME", str(home))
    for name in ("LAB_SCALE", "LAB_WORKERS", "LAB_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return home


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
