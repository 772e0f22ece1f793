"""A number says where it was made, and names neither a person nor a path."""

import getpass
import importlib.metadata
import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lablib.core import provenance as module
from lablib.core.provenance import PINS, package_version, pinned, provenance, same_instructions
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


PROGRAM = "import json, torch; from lablib.core.provenance import instructions; print(json.dumps(instructions()))"


def told(environ):
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.skipif("avx2" not in module._wide_instructions(), reason="the pin is for processors with AVX2")
def test_pinned_processes_use_avx2_and_say_so():
    facts = told(pinned(without_pins()))
    assert (facts["torch"], facts["mkl"], facts["onednn"]) == ("AVX2", "AVX2,STRICT", "AVX2")
    assert "avx2" in facts["processor"].split()


def without_pins():
    return {name: value for name, value in os.environ.items() if name not in PINS}


def test_a_setting_of_the_person_wins_and_is_recorded():
    chosen = pinned(without_pins() | {"MKL_CBWR": "COMPATIBLE", "ATEN_CPU_CAPABILITY": "default"})
    assert (chosen["MKL_CBWR"], chosen["ATEN_CPU_CAPABILITY"]) == ("COMPATIBLE", "default")
    facts = told(chosen)
    assert (facts["torch"], facts["mkl"]) == ("DEFAULT", "COMPATIBLE")


def test_a_processor_without_avx2_is_not_told_to_use_it(monkeypatch):
    monkeypatch.setattr(module, "_wide_instructions", list)
    assert pinned({"A": "b"}) == {"A": "b"}


def test_instruction_sets_are_the_same_by_what_is_used():
    pin = {"torch": "AVX2", "mkl": "AVX2,STRICT", "onednn": "AVX2", "processor": "avx avx2"}
    free = pin | {"mkl": None, "onednn": None}
    wider = {"processor": "avx avx2 avx512f"}
    same = {
        "the pin holds a wider processor back": (pin, pin | wider, True),
        "without a pin the processor decides": (free, free | wider, False),
        "the same processor without a pin": (free, free, True),
        "one with and one without": (pin, free, False),
        "torch uses more": (pin, pin | {"torch": "AVX512"}, False),
        "a record from before": (pin, None, None),
    }
    for words, (one, two, expected) in same.items():
        facts = [{} if each is None else {"instructions": each} for each in (one, two)]
        assert same_instructions(*facts) is expected, words
        assert same_instructions(*facts[::-1]) is expected, words
