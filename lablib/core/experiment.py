"""One experiment = a config, a function and a table: run once, keep the table, know where it was made."""

import dataclasses
import functools
import importlib
import importlib.util
import json
import pkgutil
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import pandas as pd

from lablib.core import cluster
from lablib.core.columns import column_types
from lablib.core.config import Config
from lablib.core.cores import worker_count
from lablib.core.cpu_time import timed
from lablib.core.pool import fresh_processes
from lablib.core.provenance import provenance
from lablib.core.redact import redact, redactor
from lablib.core.store import Arm, Record, Store, joined, lab_home
from lablib.core.weights_cache import training_anew

Counted = Callable[[Any], dict[str, int | float]]

_registry: dict[str, "Experiment"] = {}


class ArmsFailed(RuntimeError):
    """Some arms of a sweep ended in an error; the others are kept."""


@dataclasses.dataclass(eq=False)
class Experiment:
    """A run function with a name and a version: calling it computes an arm once and keeps it.

    `name` is `subject/experiment`; `version` is raised by hand when the meaning of the code changes;
    `arms(scale)` lists the configurations that a scale asks for. Those of full scale may need a GPU (`needs_gpu`).
    `counted(cfg)` gives the columns that the configuration alone decides, such as parameters and FLOPs: of one value
    each, joined to what the function measured. In the record they can be counted again without running the arm.
    The module of `arms` holds the experiment, under the second part of its name: there another process finds it.
    """

    function: Callable[[Any], pd.DataFrame]
    name: str
    version: int
    arms: Callable[[str], list[Config]] | None
    needs_gpu: bool = False
    counted: Counted | None = None

    def __post_init__(self):
        functools.update_wrapper(self, self.function)

    def __reduce__(self):
        return pkgutil.resolve_name, (f"{self.arms.__module__}:{self.name.rpartition('/')[2]}",)

    def digest(self, cfg: Config) -> str:
        """The name of an arm: experiment, version and configuration."""
        return cfg.digest(self.name, self.version)

    def __call__(self, cfg: Config) -> pd.DataFrame:
        """The arm's table with its configuration joined; computed if the own store does not hold it."""
        arm = self.stored(cfg) or self.compute(cfg)
        if arm.status != "ok":
            raise ArmsFailed(f"{self.name} {arm.digest} failed: {arm.error}")
        return joined([arm], "own")

    def stored(self, cfg: Config) -> Arm | None:
        """The finished arm in the own store, or None. Recorded arms never count."""
        arm = Store(lab_home()).load(self.name, self.digest(cfg))
        if arm is None or arm.status != "ok":
            return None
        return dataclasses.replace(arm, config=cfg.flat())  # with the fields that were added after it was computed

    def compute(self, cfg: Config, fresh: bool = False) -> Arm:
        """Run the function and keep what came of it: a table, or the error and no number.

        `fresh`: train again, too, instead of reading weights that are kept.
        """
        (table, error, facts), seconds = timed(self._attempt, cfg, fresh)
        arm = Arm(
            experiment=self.name,
            version=self.version,
            digest=self.digest(cfg),
            config=cfg.flat(),
            status="ok" if error is None else "failed",
            error=error,
            cpu_seconds=round(seconds, 2),
            provenance=provenance() | {"device": "cuda" if self.needs_gpu else "cpu"},
            facts=facts,
            table=table,
        )
        Store(lab_home()).save(arm)
        return arm

    def _attempt(self, cfg: Config, fresh: bool) -> tuple[pd.DataFrame | None, str | None, dict]:
        """The table, or the error; and the facts that the run says of its inputs."""
        try:
            with training_anew(fresh):
                table = self.function(cfg)
            if self.counted is not None:
                table = table.assign(**self.counted(cfg))
            table = table.reset_index(drop=True).rename_axis(columns=None)
            column_types(table)  # what cannot be kept is an error of this arm
            facts = redact(json.loads(json.dumps(table.attrs)), redactor())
            if clash := set(table.columns) & {*cfg.flat(), "arm", "cpu_seconds", "store"}:
                raise ValueError(f"measurement columns {sorted(clash)} have the names of fields; rename them")
        except Exception as caught:
            return None, redactor()("".join(traceback.format_exception_only(caught)).strip()), {}
        return table, None, facts

    def recorded(self, record: Record | None = None) -> pd.DataFrame:
        """The committed full-scale arms of this version, as one table in the order of `arms`; empty where none is."""
        kept = {arm.digest: arm for arm in self.current((record or Record()).load(self.name))}
        now = {self.digest(cfg): cfg for cfg in self.arms("full")}
        arms = [dataclasses.replace(kept[digest], config=cfg.flat()) for digest, cfg in now.items() if digest in kept]
        return joined(arms + [arm for digest, arm in kept.items() if digest not in now], "recorded")

    def current(self, arms: Iterable[Arm]) -> list[Arm]:
        """Those of the arms that this version computed without an error."""
        return [arm for arm in arms if arm.version == self.version and arm.status == "ok"]


def experiment(
    name: str,
    *,
    version: int,
    arms: Callable[[str], list[Config]],
    needs_gpu: bool = False,
    counted: Counted | None = None,
) -> Callable[..., Experiment]:
    """Decorator: make a function `config -> table of measurement columns` an `Experiment`; several may share one."""

    def wrap(function: Callable[[Any], pd.DataFrame]) -> Experiment:
        if name in _registry and _registry[name].arms.__module__ != arms.__module__:
            raise ValueError(f"two experiments are called {name!r}")
        _registry[name] = Experiment(function, name, version, arms, needs_gpu, counted)
        return _registry[name]

    return wrap


def all_experiments() -> dict[str, Experiment]:
    """Every experiment of every subject package, by name. A subject is a package with `experiments` in it."""
    root = importlib.import_module("lablib")
    for subject in pkgutil.iter_modules(root.__path__, "lablib."):
        if not subject.ispkg or importlib.util.find_spec(f"{subject.name}.experiments") is None:
            continue
        package = importlib.import_module(f"{subject.name}.experiments")  # a module, or a folder of modules
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            importlib.import_module(f"{package.__name__}.{module.name}")
    return dict(sorted(_registry.items()))


def run_all(
    experiment: Experiment,
    arms: Sequence[Config],
    *,
    executor: Executor | None = None,
    in_process: bool = False,
    fresh: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> pd.DataFrame:
    """Compute the arms that are missing, keep each as it ends, and return all of them as one table.

    Runs over `executor` (any `concurrent.futures.Executor`), else over the Dask scheduler that LAB_ON names, else in
    a pool of single-threaded processes that is kept for the next call; with `in_process` in this one in any case.
    `progress(done, total, label)` is called as arms end. Failed arms are kept as failed; when all the others have
    ended they raise `ArmsFailed`.
    """
    missing = [cfg for cfg in dict.fromkeys(arms) if fresh or experiment.stored(cfg) is None]
    tell = progress or (lambda done, total, label: None)
    tell(0, len(missing), f"{len(set(arms)) - len(missing)} of {len(set(arms))} arms already there")
    if in_process:
        finished = (experiment.compute(cfg, fresh) for cfg in missing)
    elif missing:
        finished = _over(executor or default_executor(), experiment, missing, fresh)
    else:
        finished = iter(())
    failed = []
    for done, arm in enumerate(finished, start=1):
        kept = Store(lab_home()).load(arm.experiment, arm.digest)
        if kept is None or kept.provenance != arm.provenance:  # computed where the store is another
            Store(lab_home()).save(arm)
        tell(done, len(missing), f"{arm.digest} {arm.status}, {arm.cpu_seconds:.0f} CPU-s")
        if arm.status != "ok":
            failed.append(arm)
    if failed:
        words = f"{len(failed)} of {len(missing)} arms of {experiment.name} failed, the others are kept."
        raise ArmsFailed(f"{words} First: {failed[0].error} ({failed[0].config})")
    return joined([experiment.stored(cfg) for cfg in arms], "own")


def default_executor() -> Executor:
    """Where arms run if nobody says otherwise."""
    on = cluster.wanted()
    return worker_pool(worker_count()) if on is None else cluster.cluster(on)


@functools.cache
def worker_pool(workers: int) -> ProcessPoolExecutor:
    """A pool of fresh processes, each with one thread, kept until this process ends."""
    import torch

    one_thread = {"initializer": torch.set_num_threads, "initargs": (1,)}
    return fresh_processes(workers, **one_thread)


def _over(executor: Executor, experiment: Experiment, missing: Sequence[Config], fresh: bool):
    futures = []
    try:
        for cfg in missing:  # one by one, so that all that was sent is known if this is interrupted
            futures.append(executor.submit(experiment.compute, cfg, fresh))
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool as broken:
        worker_pool.cache_clear()
        why = "a worker process died (killed, or out of memory); finished arms are kept"
        raise ArmsFailed(f"{why}: run again, with a smaller LAB_WORKERS if memory is short") from broken
    except BrokenExecutor as broken:
        cluster.forget()
        raise ArmsFailed(f"{broken}; finished arms are kept: run again") from broken
    finally:
        for future in futures:
            future.cancel()
