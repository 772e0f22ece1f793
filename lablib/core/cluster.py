"""Arms on the workers of a Dask scheduler, behind the door that `run_all` has for any executor.

LAB_ON names the scheduler, as `--on` does. Its workers must run the same code with the same versions; that is asked
before the first arm, and again by each worker process at its first one, as workers may come later. A worker computes
in a folder of its own, so that it needs no store (see `away`); what an arm kept there comes home with it.
Dask is imported where it is spoken to, and nowhere else.
"""

import atexit
import contextlib
import functools
import importlib.util
import logging
import os
import pickle
import re
import threading
import time
import uuid
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from numbers import Real
from pathlib import Path
from typing import Any

from lablib.core.away import (
    ON,
    Trip,
    Unusable,
    computed_away,
    described,
    facts,
    refuse_difference,
    refuse_threads,
    tidy,
)
from lablib.core.files import lab_home, write_atomically
from lablib.core.provenance import PINS

TRIES = 3  # of an arm whose workers die
INSTALL = "pip install -e '.[cluster]'"
_agreed: dict[str, Callable[[], Any]] = {}


def must_agree(name: str) -> Callable:
    """Decorator: what the function gives must be the same on a worker. Called in a sweep that has imported it."""

    def wrap(function: Callable[[], Any]) -> Callable[[], Any]:
        _agreed[name] = function
        return function

    return wrap


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

    if not re.fullmatch(r"(tcp|tls)://.+:\d+", address):
        raise Unusable(f"there is no Dask scheduler at {address!r}; expected tcp://HOST:PORT, or local")
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # what matters is said below, in one line
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
    told = _within(20 * patience, client.run, _by_value(), asked, on_error="return")
    if told is None:
        raise Unusable(f"the workers of {address} do not answer when they are asked what they run; look at their logs")
    listed = client.scheduler_info(n_workers=-1)["workers"]
    for worker, there in told.items():
        if isinstance(there, BaseException):
            if worker not in listed:  # it has just left
                continue
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
            _within(2, self.client.close)
            raise
        self.address, self.lock = address, threading.Lock()
        # what is still away; a result that is at home is let go of, or Dask would compute it again for a lost worker
        self.away: dict[Future, Any] = {}
        threading.Thread(target=self._watch, daemon=True).start()
        atexit.register(self.shutdown)

    def submit(self, function: Callable, /, *arguments: Any, **named: Any) -> Future:
        future: Future = Future()
        future.add_done_callback(self._given_up)
        self._send(future, pickle.dumps(functools.partial(function, *arguments, **named)), TRIES)
        return future

    def _send(self, future: Future, call: bytes, tries: int) -> None:
        try:
            sent = self.client.submit(computed_away, self.trip, call, pure=False)
        except Exception as error:  # the client has closed, as it lost its scheduler
            with self.lock:
                self.away[future] = None
            self._settle(future, error=self._broken(error))
            return
        with self.lock:
            self.away[future] = sent
        # in a thread of its own: it waits for files, and for an arm that is computed once more
        bring = threading.Thread(target=self._bring, args=(future, sent, call, tries), daemon=True)
        sent.add_done_callback(lambda _: bring.start())

    def _bring(self, future: Future, sent: Any, call: bytes, tries: int) -> None:
        try:
            result, files = sent.result()
            for place, content in files.items():
                write_atomically(_inside(lab_home(), place), content)
        except Exception as error:
            if type(error).__name__ == "KilledWorker" and tries > 1:  # workers that may go at any time
                return self._send(future, call, tries - 1)
            self._settle(future, error=self._broken(error))
        else:
            self._settle(future, result)

    def _given_up(self, future: Future) -> None:
        """Called when a future is settled; of a cancelled one nothing came home, so that its folder is left behind."""
        if not future.cancelled():
            return
        self.trip = self.trip._replace(name=uuid.uuid4().hex[:12])
        with self.lock:
            sent = self.away.pop(future, None)
        if sent is not None:
            sent.cancel()

    def _settle(self, future: Future, result: Any = None, error: Exception | None = None) -> None:
        with self.lock:
            if future not in self.away:
                return
            sent = self.away.pop(future)
        if future.set_running_or_notify_cancel():
            future.set_result(result) if error is None else future.set_exception(error)
        if sent is not None and error is not None and self.client.status == "running":
            sent.cancel()  # no worker that comes later is to compute it

    def _broken(self, error: BaseException) -> BrokenExecutor:
        if isinstance(error, Unusable):
            return BrokenExecutor(str(error))
        if type(error).__name__ == "KilledWorker":
            return BrokenExecutor("an arm lost its Dask worker again and again (out of memory?)")
        if isinstance(error, CancelledError | ConnectionError) or self.client.status != "running":
            return BrokenExecutor(f"the Dask scheduler at {self.address} is gone")
        return BrokenExecutor(f"an arm could not come home from the Dask scheduler at {self.address}: {_said(error)}")

    def _watch(self) -> None:
        """Give up what is away where no worker is left, and none comes for as long as a first one was waited for."""
        patience, seen = _patience(), time.monotonic()
        while self.client.status in ("running", "connecting"):
            time.sleep(0.5)
            with contextlib.suppress(Exception):  # the client may close at any moment
                if not self.away or self.client.scheduler_info(n_workers=-1).get("workers"):
                    seen = time.monotonic()
            if time.monotonic() - seen > patience:
                self._lose(f"the Dask scheduler at {self.address} has had no workers for {patience:g} s")
        self._lose(f"the Dask scheduler at {self.address} is gone")

    def _lose(self, words: str) -> None:
        for future in list(self.away):
            self._settle(future, error=BrokenExecutor(words))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take the folders of this sweep away and leave the scheduler, which goes on."""
        atexit.unregister(self.shutdown)
        if self.client.status == "running":
            _within(5, self.client.run, tidy, self.trip.name)
        _within(5, self.client.close)


def _within(seconds: Real, call: Callable, *arguments: Any, **named: Any) -> Any:
    """What the call gives, or None where it takes longer or fails: what cannot be reached holds nobody up."""
    found: list[Any] = []

    def run() -> None:
        with contextlib.suppress(Exception):
            found.append(call(*arguments, **named))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else None


_known: dict[tuple[str, ...], OnCluster] = {}


def cluster(address: str) -> OnCluster:
    """The executor of an address, kept until this process ends; another one once there is more to agree on."""
    key = (address, *_agreed)
    if key not in _known:
        _known[key] = OnCluster(address)
    return _known[key]


def forget() -> None:
    """Leave all schedulers; the next arm connects anew."""
    while _known:
        _known.popitem()[1].shutdown()


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
