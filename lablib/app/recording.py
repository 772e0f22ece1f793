"""The process of `lab record`: computes what is missing with the code of the worktree and writes the results."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import lablib
from lablib.app.errors import BadInput
from lablib.app.processes import serve
from lablib.core.experiment import ArmsFailed, Experiment, all_experiments, run_all
from lablib.core.progress import progress_line
from lablib.core.redact import redact, redactor
from lablib.core.store import Arm, Record, Store, lab_home

LARGEST_CHECKPOINT = 1_000_000  # bytes


def record_all(job: dict[str, Any]) -> int:
    """Record every experiment of the job; 1 if an arm failed or is still missing."""
    check_origin(Path(job["tree"]))
    record, whole = Record(Path(job["results"])), True
    chosen = choose(all_experiments(), job["experiments"])
    for experiment in chosen:
        if experiment.needs_gpu and not has_gpu():
            words = "needs a GPU, and there is none here; what is recorded stays as it is"
            print(f"{experiment.name}: {words}", flush=True)
            continue
        if not job["partial"]:
            compute_missing(experiment, record, workers=job["workers"], live=job["live"])
        whole &= write(experiment, record)
    if job["images"]:
        from lablib.app.drawing import draw

        for experiment in chosen:
            draw(experiment, record)
    return int(not whole)


def has_gpu() -> bool:
    """Whether torch can use one."""
    import torch

    return torch.cuda.is_available()


def check_origin(tree: Path) -> None:
    """BadInput unless the lablib that is imported is the worktree's: an editable install may win over PYTHONPATH."""
    place = Path(lablib.__file__ or next(iter(lablib.__path__))).resolve()
    if not place.is_relative_to(tree.resolve()):
        raise BadInput("`lab record` would import another lablib than the committed one; unset PYTHONPATH, make setup")


def choose(experiments: dict[str, Experiment], names: Sequence[str]) -> list[Experiment]:
    """The named experiments, or all; BadInput for an unknown name."""
    for name in names:
        if name not in experiments:
            raise BadInput(f"there is no experiment {name!r}; expected one of: {', '.join(experiments)}")
    return [experiments[name] for name in names or experiments]


def compute_missing(experiment: Experiment, record: Record, *, workers: int, live: bool) -> None:
    """Compute the arms that neither the record nor the recorder's own store holds; failures are said and kept."""
    recorded = {arm.digest for arm in experiment.current(record.load(experiment.name))}
    missing = [cfg for cfg in experiment.arms("full") if experiment.digest(cfg) not in recorded]
    if not missing:
        return
    for cfg in missing:
        if (arm := experiment.stored(cfg)) and not from_commit(arm):
            Store(lab_home()).path(experiment.name, arm.digest).unlink()
    try:
        show = progress_line(experiment.name, live=live)
        run_all(experiment, missing, in_process=workers == 1 or experiment.needs_gpu, progress=show)
    except ArmsFailed as error:
        print(f"\n{experiment.name}: {error}", flush=True)


def write(experiment: Experiment, record: Record) -> bool:
    """Merge what is finished into the record, say what was dropped; whether all full-scale arms are there."""
    wanted = [experiment.digest(cfg) for cfg in experiment.arms("full")]
    recorded = record.load(experiment.name)
    good = experiment.current(recorded)
    known = {arm.digest for arm in good}
    stored = [arm for cfg in experiment.arms("full") if (arm := experiment.stored(cfg)) and from_commit(arm)]
    fresh = [sealed(keep_checkpoint(arm, record.root)) for arm in stored if arm.digest not in known]
    merged = merge(good, fresh, wanted)
    dropped = [arm.digest for arm in recorded if arm.digest not in {arm.digest for arm in merged}]
    for digest in dropped:
        (record.root / "checkpoints" / f"{digest}.safetensors").unlink(missing_ok=True)
    if merged and (fresh or dropped):
        record.save(experiment.name, [clean(arm) for arm in merged])
    elif dropped:
        for ending in (".csv", ".jsonl"):
            (record.root / f"{experiment.name}{ending}").unlink(missing_ok=True)
    missing = len(set(wanted)) - len(merged)
    gone = f"; dropped, as no longer asked for: {', '.join(dropped)}" if dropped else ""
    counts = f"{len(merged)} arms recorded, {len(fresh)} of them new, {missing} missing"
    print(f"{experiment.name}: {counts}{gone}", flush=True)
    return missing == 0


def from_commit(arm: Arm) -> bool:
    """Whether the arm was made by committed code; others lie in the recorder's store only by accident."""
    return bool(arm.provenance.get("commit")) and not arm.provenance.get("dirty")


def merge(recorded: Iterable[Arm], computed: Iterable[Arm], wanted: Iterable[str]) -> list[Arm]:
    """The wanted arms, each once: the recorded one, which others may have cited, before a computed one."""
    found = {arm.digest: arm for arm in [*computed, *recorded]}
    return [found[digest] for digest in dict.fromkeys(wanted) if digest in found]


def keep_checkpoint(arm: Arm, results: Path) -> Arm:
    """The arm with its small checkpoint copied beside the results, where it asks for that.

    An arm says where its checkpoint lies below LAB_HOME in `facts["checkpoint"]`, and that it is to be kept in
    `facts["keep_checkpoint"]`; without that the path goes, as it would point nowhere.
    """
    facts = dict(arm.facts)
    place = facts.pop("checkpoint", None)
    if place is not None and facts.get("keep_checkpoint"):
        source = lab_home() / place
        source = source / "model.safetensors" if source.is_dir() else source
        named = f"arm {arm.digest} of {arm.experiment}: its checkpoint"
        if not source.is_file():
            raise BadInput(f"{named} is gone; delete the arm in .lab/record")
        if source.stat().st_size >= LARGEST_CHECKPOINT:
            raise BadInput(f"{named} is over 1 MB; do not set keep_checkpoint")
        facts["checkpoint"] = f"checkpoints/{arm.digest}.safetensors"
        target = results / facts["checkpoint"]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    return dataclasses.replace(arm, facts=facts)


def sealed(arm: Arm) -> Arm:
    """The arm with the fingerprint of its table, by which `lab verify` knows what the rounded record does not hold."""
    return dataclasses.replace(arm, facts=arm.facts | {"fingerprint": fingerprint(arm.table)})


def fingerprint(table: pd.DataFrame) -> str:
    """Sixteen hexadecimal digits that name every bit of a table, what the machine measures of itself left out."""
    kept = {name: table[name].tolist() for name in sorted(table.columns) if not is_of_the_machine(name)}
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def is_of_the_machine(column: str) -> bool:
    """Whether a column holds times, rates or measured memory, by the unit at its end: no two runs agree."""
    return column.rpartition("_")[2] in ("seconds", "second", "megabytes")


def clean(arm: Arm) -> Arm:
    """The arm with nothing in its header that names a folder of this machine."""
    redacted = redactor()
    return dataclasses.replace(arm, facts=redact(arm.facts, redacted), provenance=redact(arm.provenance, redacted))


if __name__ == "__main__":
    serve(lambda job, _: record_all(job))
