"""Real text without a download: the bytes of the Python standard library's own sources, and of what the lab needs.

A file belongs to one split for good, by the hash of its name. The corpus differs between Python versions, so its
own hash goes into the record of every run that reads it.
"""

import functools
import hashlib
import sysconfig
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from lablib.core.cluster import must_agree
from lablib.core.refusals import at_least

SKIPPED = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3"}
HELD_OUT_SHARE = 0.1
# what the lab needs, and what that needs; in this order
DEPENDENCIES = (
    *("torch", "numpy", "pandas", "sympy", "networkx", "triton", "jinja2", "mpmath", "einops", "jaxtyping"),
    *("safetensors", "click", "rich", "plotly", "ipython", "jedi"),
)


class Text(NamedTuple):
    """Byte tokens (0 to 255), and the SHA-256 of the names and contents of all files of the corpus they come from.

    From token `repeats_after` on a long text is the same again.
    """

    tokens: Int[Tensor, " time"]
    corpus: str
    repeats_after: int | None = None


def standard_library(split: Literal["train", "held-out"] = "train") -> Text:
    """The sources of the running Python, in the order of their names, files joined by a zero byte.

    Raises FileNotFoundError where Python was installed without its sources.
    """
    splits = _read_standard_library()
    if split not in splits:
        raise ValueError(f"split is {split!r}; expected 'train' or 'held-out'")
    return splits[split]


@must_agree("corpus")
def corpus() -> str | None:
    """The hash of the standard library's sources; None where Python was installed without them."""
    try:
        return standard_library().corpus[:12]
    except FileNotFoundError:
        return None


def long_text(length: int) -> Text:
    """`length` byte tokens that no model here is trained on: the held-out standard library, then the dependencies.

    Only the files that are needed are read. Raises FileNotFoundError where no dependency has its sources.
    """
    at_least(0, length=length)
    start, files = standard_library("held-out"), _dependency_files()
    if not files:
        names = ", ".join(DEPENDENCIES)
        raise FileNotFoundError(f"none of {names} is installed with its .py files; run `make setup` in the project")
    digest, parts = hashlib.sha256(start.corpus.encode()), [start.tokens]
    missing = length - len(start.tokens)
    for name, path in files:
        if missing <= 0:
            break
        content = path.read_bytes()
        digest.update(name.encode() + b"\0" + content)
        parts.append(_as_tokens(content + b"\0"))
        missing -= len(content) + 1
    tokens = torch.cat(parts)
    if missing > 0:
        tokens = tokens.repeat(-(-length // len(tokens)))
    whole = len(start.tokens) + sum(path.stat().st_size + 1 for _, path in files)
    return Text(tokens[:length], digest.hexdigest(), whole)


@functools.cache
def _dependency_files() -> tuple[tuple[str, Path], ...]:
    """Name and place of every source file of the dependencies that are there, tests left out."""
    found = []
    for package in DEPENDENCIES:
        try:
            files = distribution(package).files or []
        except PackageNotFoundError:
            continue
        for file in sorted(files, key=str):
            if file.suffix == ".py" and not SKIPPED & set(file.parts) and (place := Path(file.locate())).is_file():
                found.append((file.as_posix(), place))
    return tuple(found)


def split_of(name: str) -> Literal["train", "held-out"]:
    """The split of a file, from its name alone."""
    share = int(hashlib.sha256(name.encode()).hexdigest()[:8], 16) / 0xFFFFFFFF
    return "held-out" if share < HELD_OUT_SHARE else "train"


def encode_texts(texts: Iterable[str | None]) -> Int[Tensor, " time"]:
    """Documents as UTF-8 bytes, a zero byte after each; None, where a row has no document, is left out.

    Raises ValueError for what is no text.
    """
    if isinstance(texts, str):
        raise ValueError("one text came; expected a list of texts")
    parts = []
    for number, text in enumerate(texts):
        if not isinstance(text, str | None):
            raise ValueError(f"document {number} is {type(text).__name__} {text!r:.40}; expected text")
        parts += [] if text is None else [text.encode() + b"\0"]
    return _as_tokens(b"".join(parts))


def _as_tokens(content: bytes) -> Int[Tensor, " time"]:
    return torch.from_numpy(np.frombuffer(content, dtype=np.uint8).astype(np.int64))


def hub_text(path: str, *, name: str | None = None, split: str = "train", column: str = "text", **options) -> Text:
    """Any text dataset that Hugging Face's `datasets` can load, from the hub or from local files.

    >>> hub_text("json", data_files="books.jsonl")  # doctest: +SKIP

    Rows whose column is null are left out. Needs the extra `hub` and, for the hub itself, a network. Raises ImportError
    and ValueError that say so.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError("reading a dataset needs the package `datasets`: pip install -e '.[hub]'") from error
    try:
        rows = datasets.load_dataset(path, name, split=split, **options)
    except StopIteration:  # what it says to files without a row
        raise ValueError(f"{path} has no rows; name other files") from None
    if isinstance(rows, dict):
        raise ValueError(f"split is {split!r}; expected one of {', '.join(rows)}")
    if column not in rows.column_names:
        raise ValueError(f"{path} has no column {column!r}; it has {', '.join(rows.column_names) or 'none'}")
    try:
        tokens = encode_texts(rows[column])
    except ValueError as error:
        raise ValueError(f"column {column!r} of {path}: {error}") from error
    if not tokens.any():
        raise ValueError(f"column {column!r} of {path} holds no text; name another column or split")
    return Text(tokens, hashlib.sha256(tokens.numpy().tobytes()).hexdigest())


@functools.cache
def _read_standard_library() -> dict[str, Text]:
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
    return {split: Text(encode_texts(texts), digest.hexdigest()) for split, texts in parts.items()}
