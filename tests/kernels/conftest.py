"""The gates of the kernels. Gate 2 needs Triton's interpreter, which is chosen for a whole process.

`make test` runs `tests/kernels/interpreted` in a process of its own, with TRITON_INTERPRET=1; any other process leaves
that folder out. Where there is no Triton (macOS) nothing here can run, and `lab doctor` says so.
"""

import importlib.util
import os

import pytest

HAS_TRITON = importlib.util.find_spec("triton") is not None

if not HAS_TRITON:
    collect_ignore_glob = ["*"]
elif os.environ.get("TRITON_INTERPRET") != "1":
    collect_ignore = ["interpreted"]
else:
    collect_ignore_glob = ["test_*.py"]


def pytest_sessionfinish(session, exitstatus):
    """Without Triton a run of this folder alone finds no test, and that is no failure."""
    if not HAS_TRITON and exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
        session.exitstatus = pytest.ExitCode.OK
