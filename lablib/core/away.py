"""What a Dask worker does for `cluster`: it is set as the sender is, says what it runs, and computes arms.

Only Dask's own part of a worker has run before; so torch is imported here, behind the settings that it reads.
"""

import contextlib
import ctypes
import functools
import hashlib
import multiprocessing
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lablib.core.checkout import PROJECT
from lablib.core.provenance import PACKAGES, provenance

ON = "LAB_ON"


class Unusable(RuntimeError):
    """Why no arm can be sent to a scheduler or a worker, and what to do, in one line."""


class Trip(NamedTuple):
    """What goes with every arm: a name for the sweep, how the sender's processes are set, and what it runs.

    `agreed` is pickled, as an arm is: to load it imports torch, and the settings must be there before.
    """

    name: str
    settings: dict[str, str | None]
    facts: dict[str, Any]
    agreed: bytes


def described(settings: Mapping[str, str | None], agreed: bytes) -> dict[str, Any]:
    """Set this process as the sender's is set, unless torch is there already, and say what it runs."""
    if "torch" not in sys.modules:
        for name, value in settings.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}
        os.environ["OMP_NUM_THREADS"] = "1"
    if "MALLOC_TRIM_THRESHOLD_" in os.environ:
        _keep_memory()
    return facts(pickle.loads(agreed))


def _keep_memory() -> None:
    """Undo what Dask's nanny tells malloc: to give memory back at once. It doubled the seconds of an arm.

    A threshold that is set is not adapted any more, so these are the largest that glibc takes by itself.
    """
    trim, mmap = -1, -3  # of mallopt(3)
    with contextlib.suppress(OSError, AttributeError):  # another libc
        libc = ctypes.CDLL(None)
        libc.mallopt(mmap, 32 << 20)
        libc.mallopt(trim, 64 << 20)


def facts(agreed: Mapping[str, Callable]) -> dict[str, Any]:
    """What decides the numbers of an arm beside its configuration."""
    import torch  # noqa: F401  whose instruction set is one of the facts

    known, code = provenance(), code_hash()
    held = known["instructions"]["mkl"] and known["instructions"]["onednn"]  # then what else there is is not used
    instructions = {name: value for name, value in known["instructions"].items() if name != "processor" or not held}
    named = {name: known[name] for name in ("commit", "dirty", "python", *PACKAGES)}
    return named | {"code": code, "instructions": instructions} | {name: each() for name, each in agreed.items()}


@functools.cache
def code_hash() -> str:
    """Twelve digits of the SHA-256 of the lab's sources: equal commits may have been changed since."""
    digest = hashlib.sha256()
    for path in sorted(path for part in ("lablib", "kernels") for path in (PROJECT / part).rglob("*.py")):
        digest.update(path.relative_to(PROJECT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def refuse_threads(worker: str, threads: int) -> None:
    """Raises Unusable for a worker that would compute several arms in one process."""
    if threads != 1:
        words = f"has {threads} threads, and an arm needs a process of its own; start it with --nthreads 1"
        raise Unusable(f"the Dask worker {worker} {words}")


def refuse_difference(worker: str, here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    """Raises Unusable with the first thing in which a worker differs from the sender."""
    for name, value in here.items():
        if there.get(name) == value or (name == "dirty" and value):  # nothing of a sender with changes is recorded
            continue
        words = {
            "dirty": "there with uncommitted changes; commit or undo them",
            "code": "the same commit with other sources; commit or undo what is changed",
            "instructions": f"{there.get(name)} for {value}; restart the worker, so that it can be set as this process",
        }.get(name, f"{there.get(name) or 'none'}, here {value or 'none'}; install the same there, and start it again")
        raise Unusable(f"the Dask worker {worker} differs from this process: {name}: {words}")


_seen: set[str] = set()


def computed_away(trip: Trip, call: bytes) -> tuple[Any, dict[str, bytes]]:
    """Call a pickled function in the sweep's folder here; its result, and the files that came to be there meanwhile."""
    from distributed import get_worker

    if trip.name not in _seen:
        own = get_worker()
        refuse_threads(own.address, own.state.nthreads)
        refuse_difference(own.address, trip.facts, described(trip.settings, trip.agreed))
        _seen.add(trip.name)
    import torch  # behind `described`, which sets what torch reads when it is imported

    torch.set_num_threads(1)
    multiprocessing.current_process()._config["daemon"] = False  # Dask's nanny sets it, and some arms start a process
    home = _folder(trip.name, get_worker())
    os.environ["LAB_HOME"] = str(home)
    os.environ.pop(ON, None)  # here ends the way
    before = _kept(home)
    result = pickle.loads(call)()
    new = [path for path, state in _kept(home).items() if before.get(path) != state]
    return result, {path.relative_to(home).as_posix(): path.read_bytes() for path in new}


def _folder(name: str, worker: Any) -> Path:
    """The folder of a sweep, of this process alone; Dask removes it with the worker."""
    return Path(worker.local_directory) / f"lab-{name}-{os.getpid()}"


def tidy(name: str, dask_worker: Any) -> None:
    """Remove the folder of a sweep; Dask gives the worker."""
    shutil.rmtree(_folder(name, dask_worker), ignore_errors=True)


def _kept(home: Path) -> dict[Path, tuple[int, int]]:
    """The whole files of kept weights, each with the time of its last change and its size."""
    files = [path for path in (home / "models").rglob("*") if path.is_file() and path.name[0] != "."]
    return {path: (path.stat().st_mtime_ns, path.stat().st_size) for path in files}
