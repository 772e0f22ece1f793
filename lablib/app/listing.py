"""`lab list`: the notebooks with their question and last run, the experiments with what is there of them."""

from collections.abc import Iterator
from pathlib import Path

from lablib.app import checks
from lablib.app.display import minutes
from lablib.app.errors import BadInput
from lablib.app.notebook import load, question
from lablib.app.runrecord import RunRecord, all_runs
from lablib.core.config import SCALES
from lablib.core.experiment import Experiment, all_experiments
from lablib.core.store import Record, Store, lab_home


def notebook_lines(out: Path) -> Iterator[str]:
    """Two lines a notebook: its name with its last run, and its question."""
    runs = all_runs(out)
    paths = checks.all_notebooks()
    width = max((len(path.stem) for path in paths), default=0)
    for path in paths:
        try:
            asked = question(load(path)) or "(it asks no question yet)"
        except BadInput as error:
            asked = f"(cannot be read: {error})"
        yield f"{path.stem:<{width}}  {_last_run(path.stem, runs)}"
        yield f"    {asked}"
    if not paths:
        yield "no notebook yet"


def _last_run(name: str, runs: list[RunRecord]) -> str:
    for record in reversed(runs):
        for run in record.notebooks:
            status = record.seen_status_of(run)
            if run.name == name and (run.started or status == "running"):
                took = f", {minutes(run.wall_seconds)}" if run.wall_seconds is not None else ""
                return f"{status} at {record.scale} scale{took}, run {record.id}"
    return "never run"


def experiment_lines() -> Iterator[str]:
    """A line an experiment and scale: how many of its arms are own, recorded and missing."""
    experiments = all_experiments()
    width = max((len(name) for name in experiments), default=0)
    yield f"{'experiment':<{width}}  scale    arms   own  recorded  missing"
    for name, experiment in experiments.items():
        for scale in SCALES:
            total, own, recorded, missing = _counts(experiment, scale)
            yield f"{name:<{width}}  {scale:<5}  {total:>6}  {own:>4}  {recorded:>8}  {missing:>7}"


def _counts(experiment: Experiment, scale: str) -> tuple[int, int, int, int]:
    wanted = {experiment.digest(cfg) for cfg in experiment.arms(scale)}
    store = Store(lab_home())
    loaded = (store.load(experiment.name, digest) for digest in wanted)
    own = {arm.digest for arm in loaded if arm is not None and arm.status == "ok"}
    kept = {arm.digest for arm in Record().load(experiment.name) if arm.status == "ok"} & wanted
    return len(wanted), len(own), len(kept), len(wanted - own - kept)
