"""Real text without a download: the bytes of the Python standard library's own sources.

A file belongs to one split for good, by the hash of its name. The corpus differs between Python versions, so its
own hash goes into the record of every run that reads it.
"""

import functools
import hashlib
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3"}
HELD_OUT_SHARE = 0.1


class Text(NamedTuple):
    """Byte tokens (0 to 255) of a split, and the SHA-256 of the whole corpus that it comes from."""

    tokens: Int[Tensor, " time"]
    corpus: str


def standard_library(split: Literal["train", "held-out"] = "train") -> Text:
    """The sources of the running Python, in the order of their names, files joined by a zero byte.

    Raises FileNotFoundError where Python was installed without its sources.
    """
    splits, digest = _read_standard_library()
    if split not in splits:
        raise ValueError(f"split is {split!r}; expected 'train' or 'held-out'")
    return Text(splits[split], digest)


def split_of(name: str) -> Literal["train", "held-out"]:
    """The split of a file, from its name alone."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "held-out" if share < HELD_OUT_SHARE else "train"


def encode_texts(texts: Iterable[str]) -> Int[Tensor, " time"]:
    """Documents as UTF-8 bytes, a zero byte after each."""
    joined = b"".join(text.encode() + b"\0" for text in texts)
    return torch.from_numpy(np.frombuffer(joined, dtype=np.uint8).astype(np.int64))


def hub_text(path: str, *, name: str | None = None, split: str = "train", column: str = "text", **options) -> Text:
    """Any text dataset that Hugging Face's `datasets` can load, from the hub or from local files.

    >>> hub_text("json", data_files="books.jsonl")  # doctest: +SKIP

    Needs the extra `hub` and, for the hub itself, a network. Raises ImportError and ValueError that say so.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError("reading a dataset needs the package `datasets`: pip install -e '.[hub]'") from error
    rows = datasets.load_dataset(path, name, split=split, **options)
    if column not in rows.column_names:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(rows.column_names)}")
    tokens = encode_texts(rows[column])
    return Text(tokens, hashlib.sha256(tokens.numpy().tobytes()).hexdigest())


@functools.cache
def _read_standard_library() -> tuple[dict[str, Tensor], str]:
    root = Path(sysconfig.get_path("stdlib"))
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py"))
    files = [name for name in files if not SKIPPED & set(Path(name).parts)]
    if not files:
        raise FileNotFoundError(
            f"no sources of the standard library in {root}: install Python with its .py files (not only .pyc)"
        )
    digest, parts = hashlib.sha256(), {"train": [], "held-out": []}
    for name in files:
        content = (root / name).read_bytes()
        digest.update(name.encode() + b"\0" + content)
        parts[split_of(name)].append(content.decode(errors="replace"))
    return {split: encode_texts(texts) for split, texts in parts.items()}, digest.hexdigest()
