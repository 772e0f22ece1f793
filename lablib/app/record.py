"""`lab record`: full-scale arms computed from a worktree of the committed code, and written to notebooks/results/.

A child process with the code of the worktree computes what is missing and writes the results.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

import lablib
from lablib.app import processes
from lablib.app.errors import BadInput
from lablib.app.on import with_usable_workers
from lablib.app.pipeline import TICK, caught_signals
from lablib.app.recount import recount
from lablib.core import cluster
from lablib.core.checkout import PROJECT, RESULTS, Unknown, changes, git, own_commit
from lablib.core.experiment import ArmsFailed, Experiment, all_experiments, run_all
from lablib.core.progress import progress_line
from lablib.core.provenance import pinned
from lablib.core.redact import redact, redactor
from lablib.core.store import Arm, Record, Store, lab_home

LARGEST_CHECKPOINT = 1_000_000  # bytes


def record(experiments: Sequence[str], *, images: bool, partial: bool, workers: int, recount: bool = False) -> int:
    """Record the experiments (all by default); the exit code: 0 all recorded, 1 not, 128 + n stopped by signal n.

    `recount`: only count again what the configurations alone decide, in what is recorded.
    """
    if recount and partial:
        raise BadInput("--recount writes only what is recorded already; leave --partial out")
    refuse_unless_clean(PROJECT)
    with caught_signals() as caught, worktree(PROJECT) as tree:
        job = {"tree": str(tree), "experiments": list(experiments), "images": images, "partial": partial}
        job |= {"recount": recount}
        where = {"home": PROJECT / ".lab" / "record", "code": tree}
        code = in_child("lablib.app.record", job, caught, workers=workers, **where)
        if caught:
            print("\nstopped; what is finished is kept: run `lab record` again, or with --partial to write only that")
        return code


def in_child(
    module: str, job: dict[str, Any], caught: list[int], *, home: Path, workers: int, code: Path = PROJECT
) -> int:
    """Do a job by a module of the lablib in `code`, until its end or a signal, and end it whole.

    Its processes have a store at `home`, a thread each, and the same instruction sets. The exit code: 0 where the
    child ended well, else 1, or 128 + n where signal n stopped it. Raises BadInput with what it refused.
    """
    own = {"LAB_HOME": str(home), "LAB_WORKERS": str(workers), "OMP_NUM_THREADS": "1", "LAB_INTERACTIVE": "0"}
    job = job | {"results": str(PROJECT / RESULTS), "workers": workers, "live": sys.stdout.isatty()}
    environ = pinned(os.environ) | own
    child = processes.start(module, job, mark=f"{module} {code} {home}", environ=environ, code=code, quiet=False)
    try:
        while not child.ended() and not caught:
            time.sleep(TICK)
    finally:
        child.stop()
        refusals = [message["refused"] for message in child.read() if "refused" in message]
        child.close()
    if refusals:
        raise BadInput(refusals[0])
    return 128 + caught[0] if caught else int(child.process.returncode != 0)


def refuse_unless_clean(project: Path) -> None:
    """BadInput unless all code is known to be committed: what is recorded must be what anyone can check out."""
    what = "commit"
    try:
        own_commit(project)
        what = "state (committed or not)"
        changed = changes(project, untracked=True, besides=RESULTS)
    except Unknown as reason:
        raise BadInput(f"`lab record` needs a git checkout of the lab, and its {what} is unknown: {reason}") from None
    if changed:
        first = ", ".join(line[3:] for line in changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise BadInput(f"`lab record` records committed code only; commit or stash first: {first}")


def commit_of(project: Path, name: str) -> str:
    """The full hash of a commit; BadInput for one that is not there, or where no commit of the lab is known."""
    try:
        own_commit(project)
    except Unknown as reason:
        raise BadInput(f"the commits of the lab are unknown: {reason}") from None
    try:
        return git(project, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    except Unknown:
        raise BadInput(f"there is no commit {name!r} in this checkout; git fetch, or name another") from None


@contextlib.contextmanager
def worktree(project: Path, commit: str = "HEAD") -> Iterator[Path]:
    """A checkout of a commit in a temporary folder, gone afterwards; BadInput where git makes none."""
    folder = Path(tempfile.mkdtemp(prefix="lab-record-")).resolve()
    tree = folder / "tree"
    try:
        git(project, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        yield tree
    except Unknown as reason:
        raise BadInput(f"a git worktree of {commit} is needed, and git made none: {reason}") from None
    finally:
        with contextlib.suppress(Unknown):
            git(project, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(Unknown):
            git(project, "worktree", "prune")


def record_all(job: dict[str, Any]) -> int:
    """Record every experiment of the job; 1 if an arm failed or is still missing."""
    check_origin(Path(job["tree"]))
    record, whole = Record(Path(job["results"])), True
    chosen = choose(all_experiments(), job["experiments"])
    for experiment in chosen:
        if job.get("recount"):
            recount(experiment, record)
            continue
        if experiment.needs_gpu and not has_gpu():
            print(f"{experiment.name}: needs a GPU, and there is none here; no arm is computed", flush=True)
            if any(experiment.stored(cfg) for cfg in experiment.arms("full")):  # brought here from another machine
                write(experiment, record)
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
    if not Path(next(iter(lablib.__path__))).resolve().is_relative_to(tree.resolve()):
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
        here = experiment.needs_gpu or (workers == 1 and cluster.wanted() is None)
        run_all(experiment, missing, in_process=here, progress=show)
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
        record.save(experiment.name, merged)
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
    return bool(arm.provenance.get("commit")) and arm.provenance.get("dirty") is False  # None: it is not known


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
    """The arm with the fingerprint of its table, by which `lab verify` knows what the rounded record does not hold.

    Nothing in its header names a folder of this machine.
    """
    clean, facts = redactor(), arm.facts | {"fingerprint": fingerprint(arm.table)}
    return dataclasses.replace(arm, facts=redact(facts, clean), provenance=redact(arm.provenance, clean))


def fingerprint(table: pd.DataFrame) -> str:
    """Sixteen hexadecimal digits that name every bit of a table, what the machine measures of itself left out."""
    kept = {name: table[name].tolist() for name in sorted(table.columns) if not is_of_the_machine(name)}
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:16]


def is_of_the_machine(column: str) -> bool:
    """Whether a column holds times, rates or measured memory, by the unit at its end: no two runs agree."""
    return column.rpartition("_")[2] in ("seconds", "second", "megabytes")


if __name__ == "__main__":
    processes.serve(lambda job, _: with_usable_workers(record_all, job))
