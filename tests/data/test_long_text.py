"""Long text: what no model is trained on, file after file, and again from the beginning when it ends."""

from importlib.metadata import PackageNotFoundError
from pathlib import Path, PurePosixPath
from types import SimpleNamespace

import pytest
import torch

from lablib.data import text as module
from lablib.data.text import long_text, standard_library


class File(PurePosixPath):
    """A file as `importlib.metadata` lists it."""

    folder: Path

    def locate(self) -> Path:
        return File.folder / str(self)


@pytest.fixture
def little_packages(tmp_path, monkeypatch):
    """Two small packages in place of the dependencies; a third is not installed."""
    contents = {
        "second": {"second/a.py": "alpha\n", "second/data.json": "{}", "second/tests/test_a.py": "no"},
        "first": {"first/b.py": "b" * 30, "first/a.py": "ü\n", "first/gone.py": None},
    }
    found = {}
    File.folder = tmp_path
    for package, files in contents.items():
        for name, content in files.items():
            if content is not None:
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_text(content)
        found[package] = [File(name) for name in files]

    def distribution(package):
        if package not in found:
            raise PackageNotFoundError(package)
        return SimpleNamespace(files=found[package])

    monkeypatch.setattr(module, "distribution", distribution)
    monkeypatch.setattr(module, "DEPENDENCIES", ("first", "absent", "second"))
    monkeypatch.setattr(module, "_dependency_files", module._dependency_files.__wrapped__)
    return tmp_path


EXPECTED = "ü\n".encode() + b"\0" + b"b" * 30 + b"\0" + b"alpha\n\0"


def test_it_is_the_held_out_library_then_the_packages_in_order_then_all_again(little_packages):
    start = standard_library("held-out").tokens
    text = long_text(len(start) + len(EXPECTED) + 1000)
    assert torch.equal(text.tokens[: len(start)], start)
    whole = len(start) + len(EXPECTED)
    assert bytes(text.tokens[len(start) : whole].tolist()) == EXPECTED
    assert text.repeats_after == whole
    assert torch.equal(text.tokens[whole:], start[:1000])


def test_what_is_shorter_is_its_beginning_and_says_the_same_of_the_repeat(little_packages):
    start = standard_library("held-out").tokens
    longest = long_text(len(start) + 40)
    for length in (0, 1, 1000, len(start), len(start) + 5):
        text = long_text(length)
        assert torch.equal(text.tokens, longest.tokens[:length])
        assert text.repeats_after == longest.repeats_after


def test_the_hash_is_that_of_what_was_read(little_packages):
    start = len(standard_library("held-out").tokens)
    only_start, with_first, with_all = (long_text(start + extra).corpus for extra in (0, 2, 40))
    assert len({only_start, with_first, with_all}) == 3
    (little_packages / "second" / "a.py").write_text("other!\n"[1:])
    assert long_text(start + 2).corpus == with_first
    assert long_text(start + 40).corpus != with_all


def test_without_any_sources_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(module, "DEPENDENCIES", ("no-such-package",))
    monkeypatch.setattr(module, "_dependency_files", module._dependency_files.__wrapped__)
    with pytest.raises(FileNotFoundError, match=r"none of no-such-package is installed .*; run `make setup`"):
        long_text(10)


def test_the_real_dependencies_are_enough_for_16_million_tokens():
    text = long_text(2_000_000)
    assert text.repeats_after > 16_777_216
    assert int(text.tokens.max()) <= 255
    trained_on = bytes(standard_library("train").tokens[:20_000].to(torch.uint8).numpy())[5000:5400]
    assert trained_on not in bytes(text.tokens.to(torch.uint8).numpy())
