"""A number says where it was made, and names neither a person nor a path."""

import getpass
import importlib.metadata
import json
import re
from datetime import UTC, datetime
from pathlib import Path

from lablib.core import provenance as module
from lablib.core.provenance import package_version, provenance
from lablib.core.store import PROJECT


def test_provenance_names_no_person_and_no_path():
    text = json.dumps(provenance())
    assert str(PROJECT) not in text
    assert str(Path.home()) not in text
    assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)


def test_provenance_has_the_commit_the_versions_and_the_machine():
    facts = provenance()
    assert {"commit", "dirty", "python", "torch", "triton", "numpy", "pandas", "processor", "device"} <= facts.keys()
    assert facts["torch"] == importlib.metadata.version("torch")
    assert facts["device"] == "cpu"
    assert facts["cores"] >= 1


def test_the_time_is_now_in_utc():
    finished = datetime.fromisoformat(provenance()["finished"])
    assert finished.utcoffset().total_seconds() == 0
    assert abs((datetime.now(UTC) - finished).total_seconds()) < 60


def test_a_package_that_is_not_there_has_no_version():
    assert package_version("no-such-package-anywhere") is None


def test_a_machine_without_git_has_no_commit(monkeypatch):
    def missing(*arguments, **options):
        raise FileNotFoundError("git")

    monkeypatch.setattr(module.subprocess, "run", missing)
    assert module._git("rev-parse", "HEAD") is None
