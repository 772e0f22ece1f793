"""Where the chunk store of a long input lies, in memory or in a file, and whether there is room for it."""

import math
import os
import shutil
import tempfile
from pathlib import Path

import torch

from lablib.core.measure import available_memory
from lablib.core.refusals import at_least
from lablib.nn.context import Memory
from lablib.nn.plan import ModelConfig

TOKEN_BYTES = 8  # of an input while it is drawn
BESIDE = 700 << 20  # bytes of torch, the model, one segment and one batch of questions


def check_room(cfg: ModelConfig, length: int, folder: Path | None = None) -> None:
    """Refuse a length that does not fit, before any work: its store in memory, or in a file below `folder`.

    Raises ValueError that names the length, what it needs, what there is, and the way out.
    """
    at_least(0, length=length)
    store, tokens = cfg.store_bytes(length), 2 * TOKEN_BYTES * length  # drawn, and for a moment copied
    memory = tokens + BESIDE + (0 if folder else store)
    if memory > (free := available_memory()):
        way = "give a smaller length" if folder else "give a smaller length, or keep the store on disk (mapped=True)"
        raise ValueError(
            f"length={length} needs {_gigabytes(memory)} of memory, but {_gigabytes(free)} are free: {way}"
        )
    if folder and store > (free := _free_disk(folder)):
        raise ValueError(
            f"length={length} needs {_gigabytes(store)} of disk for its store, but {_gigabytes(free)} are free there: "
            "give a smaller length, or set LAB_HOME to a folder on a larger disk"
        )


def empty_store(
    cfg: ModelConfig, num_chunks: int, folder: Path | None = None, dtype: torch.dtype = torch.float32
) -> Memory:
    """A store to be filled: in memory, or mapped to files in `folder`.

    The files have no names any more when this returns: the system removes them with the tensors, whatever happens.
    Raises OSError where the disk has no room for them.
    """
    at_least(0, num_chunks=num_chunks)
    landmarks = (1, cfg.num_kv_heads, num_chunks, cfg.width // cfg.num_kv_heads)
    tokens = (1, cfg.num_kv_heads, num_chunks, cfg.chunk, cfg.width // cfg.num_heads)
    return Memory(*(_empty(shape, folder, dtype) for shape in (landmarks, tokens, tokens)))


def _empty(shape: tuple[int, ...], folder: Path | None, dtype: torch.dtype) -> torch.Tensor:
    number = math.prod(shape)
    if folder is None or number == 0:
        return torch.empty(shape, dtype=dtype)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix="chunk-store-") as file:
        # written to a full disk, a mapped file would kill the process; so its room is taken now
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, dtype.itemsize * number)
        return torch.from_file(file.name, shared=True, size=number, dtype=dtype).reshape(shape)


def _free_disk(folder: Path) -> int:
    """Free bytes where the folder is, or will be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _gigabytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
