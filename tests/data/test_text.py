"""Real text: the standard library's own sources, split for good by file; and any dataset that `datasets` reads."""

import hashlib
import json
import socket
import sys
import sysconfig
from pathlib import Path

import pytest
import torch

from lablib.data import text as module
from lablib.data.text import HELD_OUT_SHARE, encode_texts, hub_text, split_of, standard_library

PAGES = Path(__file__).parent / "fixtures" / "pages.jsonl"


@pytest.fixture
def little_library(tmp_path, monkeypatch):
    """A standard library of a few files, in place of the real one."""
    root = tmp_path / "stdlib"
    files = [*(f"module_{i}.py" for i in range(40)), "package/inner.py", "test/test_it.py", "site-packages/other.py"]
    for name in [*files, "package/__pycache__/inner.py", "package/notes.txt"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name} ü\n")
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: str(root))
    monkeypatch.setattr(module, "_read_standard_library", module._read_standard_library.__wrapped__)
    return root


def documents(tokens: torch.Tensor) -> list[str]:
    parts = bytes(tokens.tolist()).split(b"\0")
    assert parts.pop() == b"", "a zero byte ends each document"
    return [part.decode() for part in parts]


def test_the_corpus_is_every_source_file_once_in_the_split_of_its_name(little_library):
    names = sorted([*(f"module_{i}.py" for i in range(40)), "package/inner.py"])
    for split in ("train", "held-out"):
        expected = [f"# {name} ü\n" for name in names if split_of(name) == split]
        assert expected, "the example must have files in both splits"
        assert documents(standard_library(split).tokens) == expected


def test_the_hash_is_that_of_the_whole_corpus_and_not_of_where_it_lies(little_library, tmp_path, monkeypatch):
    before = standard_library("train").corpus
    assert standard_library("held-out").corpus == before
    little_library.rename(tmp_path / "moved")
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: str(tmp_path / "moved"))
    assert standard_library("train").corpus == before
    (tmp_path / "moved" / "test" / "test_it.py").write_text("not part of it")
    assert standard_library("train").corpus == before
    (tmp_path / "moved" / "module_3.py").write_text("changed")
    assert standard_library("train").corpus != before
    (tmp_path / "moved" / "module_3.py").write_text("# module_3.py ü\n")
    assert standard_library("train").corpus == before
    (tmp_path / "moved" / "module_39.py").rename(tmp_path / "moved" / "module_39b.py")  # in the same place
    assert standard_library("train").corpus != before


def test_a_file_stays_in_its_split_whatever_else_there_is(little_library):
    before = {split: documents(standard_library(split).tokens) for split in ("train", "held-out")}
    (little_library / "a_new_module.py").write_text("new")
    for split, texts in before.items():
        assert [text for text in documents(standard_library(split).tokens) if text != "new"] == texts


def test_names_are_held_out_at_the_share_that_is_said():
    names = [f"package/module_{i}.py" for i in range(5000)]
    share = sum(split_of(name) == "held-out" for name in names) / 5000
    assert abs(share - HELD_OUT_SHARE) < 5 * (HELD_OUT_SHARE * (1 - HELD_OUT_SHARE) / 5000) ** 0.5
    by_hash = int(hashlib.sha256(b"json/decoder.py").hexdigest()[:8], 16) / 0xFFFFFFFF
    assert (split_of("json/decoder.py") == "held-out") == (by_hash < HELD_OUT_SHARE)


def test_python_without_its_sources_is_an_error_that_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no sources of the standard library"):
        module._read_standard_library.__wrapped__()


@pytest.fixture(scope="module")
def real_library():
    return {split: standard_library(split) for split in ("train", "held-out")}


def test_the_real_corpus_is_bytes_of_the_running_python(real_library):
    tokens = real_library["train"].tokens
    assert tokens.dtype == torch.int64
    assert int(tokens.min()) >= 0
    assert int(tokens.max()) <= 255
    assert len(tokens) > 3_000_000
    source = (Path(sysconfig.get_path("stdlib")) / "json" / "decoder.py").read_bytes()
    whole = bytes(real_library[split_of("json/decoder.py")].tokens.to(torch.uint8).numpy())
    assert b"\0" + source + b"\0" in whole


def test_the_real_splits_share_no_file_and_have_one_hash(real_library):
    train, held_out = real_library["train"], real_library["held-out"]
    assert train.corpus == held_out.corpus
    assert len(train.corpus) == 64
    assert 0.02 < len(held_out.tokens) / len(train.tokens) < 0.4
    assert standard_library("train").tokens is train.tokens, "read once"


def test_an_unknown_split_is_refused_by_name(refused):
    with refused(ValueError, "split is 'test'; expected 'train' or 'held-out'"):
        standard_library("test")


@pytest.mark.parametrize("texts", [[], ["a"], ["", ""], ["a\nb", "ü漢"]], ids=str)
def test_documents_come_back_from_their_bytes(texts):
    tokens = encode_texts(texts)
    assert tokens.dtype == torch.int64
    assert documents(tokens) == texts


# ---- the reader for those who are online, offline


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """The real `datasets`, with empty caches of its own, and no way to the network."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")

    def refuse(*arguments):
        raise AssertionError("a local file must be read without a network")

    import datasets  # only now: it reads the environment when it is imported

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")
    datasets.disable_progress_bars()
    return {"data_files": str(PAGES), "cache_dir": str(tmp_path / "cache")}


def test_a_dataset_becomes_the_bytes_of_a_column(offline):
    found = hub_text("json", **offline)
    assert documents(found.tokens) == ["The first page.", "Zweite Seite: ä, 漢字.", ""]
    assert documents(hub_text("json", column="title", **offline).tokens) == ["one", "two", "three"]


def test_the_hash_of_a_dataset_is_that_of_what_was_read(offline):
    one, same = (hub_text("json", **offline).corpus for _ in range(2))
    assert one == same
    assert hub_text("json", column="title", **offline).corpus != one
    assert hub_text("json", **{**offline, "split": "train[:2]"}).corpus != one


def test_a_column_that_is_not_there_is_named_beside_those_that_are(offline):
    with pytest.raises(ValueError, match="json has no column 'body'; it has text, title"):
        hub_text("json", column="body", **offline)


def pages(tmp_path, *rows: object) -> dict[str, str]:
    """Where a dataset lies whose column `text` holds these."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"title": "t", "text": row}) + "\n" for row in rows))
    return {"data_files": str(tmp_path / "rows.jsonl")}


def test_a_row_that_is_null_is_left_out_and_an_empty_one_is_a_document(offline, tmp_path):
    found = hub_text("json", **offline | pages(tmp_path, None, "first", "", None, "last"))
    assert documents(found.tokens) == ["first", "", "last"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([1, 2], "column 'text' of json: document 0 is int 1; expected text"),
        ([["a", "b"]], r"column 'text' of json: document 0 is list \['a', 'b'\]; expected text"),
        ([None, None], "column 'text' of json holds no text; name another column or split"),
        (["", ""], "column 'text' of json holds no text"),
    ],
    ids=str,
)
def test_a_column_without_text_is_refused(rows, said, offline, tmp_path, refused):
    with refused(ValueError, said):
        hub_text("json", **offline | pages(tmp_path, *rows))


def test_files_without_a_row_are_refused(offline, tmp_path):
    with pytest.raises(ValueError, match="json has no rows; name other files"):
        hub_text("json", **offline | pages(tmp_path))


def test_a_dataset_without_rows_is_refused(offline, monkeypatch):
    import datasets

    nothing = datasets.Dataset.from_dict({"text": []})
    monkeypatch.setattr(datasets, "load_dataset", lambda *given, **options: nothing)
    with pytest.raises(ValueError, match="column 'text' of json holds no text"):
        hub_text("json", **offline)


def test_without_the_package_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"needs the package `datasets`: pip install -e '\.\[hub\]'"):
        hub_text("json")
