"""Arms on the workers of a Dask scheduler, behind the door that `run_all` has for any executor.

LAB_ON names the scheduler, as `--on` does. Its workers must run the same code with the same versions; that is asked
before the first arm, and again by each worker process at its first one, as workers may come later. A worker computes
in a folder of its own under its temporary one, so that it needs no store; what an arm kept there comes home with it.
Dask is imported where it is spoken to, and nowhere else.
"""

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import logging
import os
import pickle
import re
import shutil
import sys
import tempfile
import threading
import time
import uuid
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any, NamedTuple

from lablib.core.checkout import PROJECT
from lablib.core.files import lab_home, write_atomically
from lablib.core.provenance import PACKAGES, PINS, provenance

ON = "LAB_ON"
INSTALL = "pip install -e '.[cluster]'"
_agreed: dict[str, Callable[[], Any]] = {}


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


def must_agree(name: str) -> Callable:
    """Decorator: what the function gives must be the same on a worker. Called in a sweep that has imported it."""

    def wrap(function: Callable[[], Any]) -> Callable[[], Any]:
        _agreed[name] = function
        return function

    return wrap


# ---- here


def need_dask() -> None:
    """Raises Unusable where it is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise Unusable(f"arms on other machines need Dask, which is not installed: {INSTALL}")


def connect(address: str) -> Any:
    """A Dask client of the scheduler at an address. Raises Unusable.

    It waits as long as Dask does: DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT, 30 s unless that is set.
    """
    need_dask()
    from distributed import Client

    if not re.fullmatch(r"[a-z]+://.+:\d+", address):
        raise Unusable(f"there is no Dask scheduler at {address!r}; expected tcp://HOST:PORT, or local")
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said below, in one line
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of versions that differ: those that matter are asked for below
            return Client(address, set_as_default=False)
    except (OSError, ValueError, TypeError) as error:
        said = "it did not answer in time" if isinstance(error, TimeoutError) or "imed out" in str(error) else error
        words = f"there is no Dask scheduler at {address!r} ({said}); expected tcp://HOST:PORT, or local"
        raise Unusable(words) from None


def checked(client: Any) -> Trip:
    """What goes with the arms, once every worker is known to run the same. Raises Unusable, and names what differs."""
    address, patience = client.scheduler.address, _patience()
    end = time.monotonic() + patience
    while not (workers := client.scheduler_info(n_workers=-1)["workers"]):
        if time.monotonic() > end:
            words = f"no worker came in {patience:g} s; start some: dask worker {address} --nthreads 1"
            raise Unusable(f"the Dask scheduler at {address} has no workers, and {words}")
        time.sleep(0.1)
    for worker, told in workers.items():
        refuse_threads(worker, told["nthreads"])
    settings = {name: os.environ.get(name) for name in PINS}
    trip = Trip(uuid.uuid4().hex[:12], settings, facts(_agreed), pickle.dumps(_agreed))
    asked = pickle.dumps(functools.partial(described, settings, trip.agreed))
    for worker, there in client.run(_by_value(), asked, on_error="return").items():
        if isinstance(there, BaseException):
            raise Unusable(f"the Dask worker {worker} cannot run this lab: {_said(there)}; install this commit there")
        refuse_difference(worker, trip.facts, there)
    return trip


def _by_value() -> Callable[[bytes], Any]:
    """A function that is sent with its code: a worker without this module can at least answer that it lacks it."""

    def call(pickled: bytes) -> Any:
        import pickle

        return pickle.loads(pickled)()

    return call


def _patience() -> float:
    """Seconds that Dask waits for a connection."""
    from dask import config
    from dask.utils import parse_timedelta

    return parse_timedelta(config.get("distributed.comm.timeouts.connect"))


class OnCluster(Executor):
    """The workers of a Dask scheduler as an executor: an arm that loses its worker is computed by another one.

    Results come with the files that were kept on the way, which are written below LAB_HOME here. Raises Unusable.
    """

    def __init__(self, address: str):
        self.client = connect(address)
        try:
            self.trip = checked(self.client)
        except BaseException:
            self.client.close()
            raise
        self.address, self.open = address, set[Future]()
        threading.Thread(target=self._watch, daemon=True).start()
        atexit.register(self.shutdown)

    def submit(self, function: Callable, /, *arguments: Any, **named: Any) -> Future:
        future: Future = Future()
        try:
            call = pickle.dumps(functools.partial(function, *arguments, **named))
            sent = self.client.submit(computed_away, self.trip, call, pure=False)
        except Exception as error:  # the client has closed, as it lost its scheduler
            future.set_exception(self._broken(error))
            return future
        self.open.add(future)
        future.add_done_callback(lambda ended: sent.cancel() if ended.cancelled() else None)
        sent.add_done_callback(functools.partial(self._come_home, future))
        return future

    def _come_home(self, future: Future, sent: Any) -> None:
        """Called in a thread of Dask's when an arm has ended, or its scheduler has."""
        try:
            if sent.status not in ("finished", "error"):
                raise ConnectionError
            result, files = sent.result()
            for place, content in files.items():
                write_atomically(_inside(lab_home(), place), content)
        except Exception as error:
            self._settle(future, error=self._broken(error))
        else:
            self._settle(future, result)

    def _settle(self, future: Future, result: Any = None, error: Exception | None = None) -> None:
        if future not in self.open:
            return
        self.open.discard(future)
        if future.set_running_or_notify_cancel():
            future.set_result(result) if error is None else future.set_exception(error)

    def _broken(self, error: Exception) -> BrokenExecutor:
        if isinstance(error, Unusable):
            return BrokenExecutor(str(error))
        if type(error).__name__ == "KilledWorker":
            return BrokenExecutor("an arm lost its Dask worker several times (out of memory?)")
        if isinstance(error, ConnectionError) or self.client.status != "running":
            return BrokenExecutor(f"the Dask scheduler at {self.address} is gone")
        return BrokenExecutor(f"an arm could not come home from the Dask scheduler at {self.address}: {_said(error)}")

    def _watch(self) -> None:
        """Give the open arms up where no worker is left, and none comes for as long as a first one was waited for."""
        patience, seen = _patience(), time.monotonic()
        while self.client.status in ("running", "connecting"):
            time.sleep(0.5)
            if not self.open or self.client.scheduler_info(n_workers=-1)["workers"]:
                seen = time.monotonic()
            elif time.monotonic() - seen > patience:
                words = f"the Dask scheduler at {self.address} has had no workers for {patience:g} s"
                for future in list(self.open):
                    self._settle(future, error=BrokenExecutor(words))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take the folders of this sweep away and leave the scheduler, which goes on."""
        if self.client.status == "running":
            with contextlib.suppress(Exception):  # what cannot be reached cannot be tidied
                self.client.run(shutil.rmtree, _away(self.trip.name), ignore_errors=True)
        self.client.close(timeout=2)


def cluster(address: str) -> OnCluster:
    """The executor of an address, kept until this process ends; another one once there is more to agree on."""
    return _cluster(address, tuple(_agreed))


@functools.cache
def _cluster(address: str, agreed: tuple[str, ...]) -> OnCluster:
    return OnCluster(address)


def forget() -> None:
    """Connect anew the next time."""
    _cluster.cache_clear()


# ---- on a worker


def described(settings: Mapping[str, str | None], agreed: bytes) -> dict[str, Any]:
    """Set this process as the sender's is set, unless torch is there already, and say what it runs."""
    if "torch" not in sys.modules:
        for name, value in settings.items():
            os.environ.pop(name, None)
            os.environ |= {name: value} if value is not None else {}
        os.environ["OMP_NUM_THREADS"] = "1"
    return facts(pickle.loads(agreed))


def facts(agreed: Mapping[str, Callable]) -> dict[str, Any]:
    """What decides the numbers of an arm beside its configuration."""
    import torch  # noqa: F401  whose instruction set is one of the facts

    known, code = provenance(), code_hash()
    held = known["instructions"]["mkl"] and known["instructions"]["onednn"]  # then what else there is is not used
    instructions = {name: value for name, value in known["instructions"].items() if name != "processor" or not held}
    named = {name: known[name] for name in ("commit", "python", *PACKAGES)}
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
        if there.get(name) == value:
            continue
        words = {
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
    home = Path(_away(trip.name))
    os.environ["LAB_HOME"] = str(home)
    os.environ.pop(ON, None)  # here ends the way
    begin = time.time_ns()
    result = pickle.loads(call)()
    kept = home / "models"
    new = [path for path in kept.rglob("*") if path.is_file() and path.name[0] != "." and _changed(path) >= begin]
    return result, {path.relative_to(home).as_posix(): path.read_bytes() for path in new}


def _away(name: str) -> str:
    return f"{tempfile.gettempdir()}/lab-sweep-{name}"


def _changed(path: Path) -> int:
    return path.stat().st_mtime_ns


def _inside(home: Path, place: str) -> Path:
    """The file of that name below the folder. ValueError for a name that leads out of it."""
    if ".." in Path(place).parts or Path(place).is_absolute():
        raise ValueError(f"a worker names the file {place!r}; expected a place below LAB_HOME")
    return home / place


def _said(error: BaseException) -> str:
    """The type and the first line of an error."""
    return f"{type(error).__name__}: {next(iter(str(error).splitlines()), '')}".removesuffix(": ")


def wanted() -> str | None:
    """The scheduler that arms are to go to, or None."""
    return os.environ.get(ON) or None
