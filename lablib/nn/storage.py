"""Where the chunk store of a long input lies, in memory or in a file, and whether there is room for it."""

import contextlib
import math
import os
import shutil
import tempfile
from pathlib import Path

import torch

from lablib.core.measure import available_memory
from lablib.nn.context import Memory
from lablib.nn.plan import ModelConfig

TOKEN_BYTES = 8  # of an input while it is drawn
BESIDE = 700 << 20  # bytes of torch, the model, one segment and one batch of questions


def store_shapes(cfg: ModelConfig, num_chunks: int) -> Memory:
    """The shapes of landmarks, keys and values, in the places of a `Memory`."""
    heads, dim = cfg.num_kv_heads, cfg.width // cfg.num_heads
    tokens = (1, heads, num_chunks, cfg.chunk, dim)
    return Memory((1, heads, num_chunks, cfg.width // heads), tokens, tokens)


def store_bytes(cfg: ModelConfig, length: int) -> int:
    """Bytes (float32) of the chunk store of `length` tokens; none in a plan without memory."""
    if cfg.layers.memory_above is None:
        return 0
    return 4 * sum(math.prod(shape) for shape in store_shapes(cfg, length // cfg.chunk))


def check_room(cfg: ModelConfig, length: int, folder: Path | None = None) -> None:
    """Refuse a length that does not fit, before any work: its store in memory, or in a file below `folder`.

    Raises ValueError that names the length, what it needs, what there is, and the way out.
    """
    store, tokens = store_bytes(cfg, length), 2 * TOKEN_BYTES * length  # drawn, and for a moment copied
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
    shapes = store_shapes(cfg, num_chunks)
    if folder is None:
        return Memory(*(torch.empty(shape, dtype=dtype) for shape in shapes))
    folder.mkdir(parents=True, exist_ok=True)
    return Memory(*(_mapped(shape, folder, dtype) for shape in shapes))


def _mapped(shape: tuple[int, ...], folder: Path, dtype: torch.dtype) -> torch.Tensor:
    number = math.prod(shape)
    if number == 0:
        return torch.empty(shape, dtype=dtype)
    handle, name = tempfile.mkstemp(dir=folder, prefix="chunk-store-")
    try:
        with contextlib.closing(os.fdopen(handle, "wb")) as file:
            # written to a full disk, a mapped file would kill the process; so its room is taken now
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, dtype.itemsize * number)
        return torch.from_file(name, shared=True, size=number, dtype=dtype).reshape(shape)
    finally:
        os.unlink(name)


def _free_disk(folder: Path) -> int:
    """Free bytes where the folder is, or will be."""
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _gigabytes(number: int) -> str:
    return f"{number / 2**30:.1f} GiB"
