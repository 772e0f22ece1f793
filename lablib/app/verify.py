"""`lab verify`: recorded arms computed again from nothing, and held against the record in every digit it keeps.

The record rounds to six significant digits, so that its files stay small; an arm recorded with a fingerprint of its
unrounded table is compared bit for bit. What a machine measures of itself (times, memory) is left out. Another
instruction set adds up sums in another order: then the arm is one more draw, and is held against the recorded seeds.
"""

import contextlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lablib.app import processes
from lablib.app.compare import OUTSIDE, differences, share_outside
from lablib.app.errors import BadInput
from lablib.app.on import with_usable_workers
from lablib.app.pipeline import caught_signals
from lablib.app.record import RESULTS, choose, fingerprint, in_child, is_of_the_machine
from lablib.app.recount import as_first_recorded
from lablib.core import cluster
from lablib.core.experiment import ArmsFailed, Experiment, all_experiments, run_all
from lablib.core.progress import progress_line
from lablib.core.provenance import same_instructions
from lablib.core.store import Arm, Record, Store, lab_home

EQUAL, DRAW, DIFFERENT = "equal", "equal but for the instruction set", "different"
_OF_THE_RUN = ("finished", "dirty", "cores", "instructions")  # what may differ without a word, or has its own


def verify(
    experiments: Sequence[str], *, count: int, digests: Sequence[str], workers: int, against: str | None = None
) -> int:
    """Compute recorded arms again in a store of their own; 0 if none is different, 1 if one is, 128 + n by signal n.

    `against`: hold them not against the record, but against what the code of that commit computes here.
    """
    if count < 1:
        raise BadInput(f"--arms is {count}; expected a whole number of at least 1")
    if against is not None and digests:
        raise BadInput("--against picks the cheapest arms of each experiment; leave --arm out")
    home = Path(tempfile.mkdtemp(prefix="lab-verify-"))  # no arm and no model of before can be found in it
    job = {"experiments": list(experiments), "count": count, "digests": list(digests), "against": against}
    job |= {"keep": str(lab_home().absolute() / "verify")}
    module = "lablib.app.verify" if against is None else "lablib.app.against"
    try:
        with caught_signals() as caught:
            return in_child(module, job, caught, home=home, workers=workers)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def verify_all(job: dict[str, Any]) -> int:
    """Compute and compare what the job asks for; 1 if an arm is different."""
    record = Record(Path(job["results"]))
    chosen = choose(all_experiments(), job["experiments"])
    picked = [(one, pick(one, record, job["count"], job["digests"])) for one in chosen]
    known = {arm.digest for _, arms in picked for arm in arms}
    if unknown := [digest for digest in job["digests"] if digest not in known]:
        raise BadInput(f"no recorded arm {unknown[0]} can be compared; their digests are in {RESULTS}/*/*.jsonl")
    if not known:
        raise BadInput("nothing is recorded that could be compared; name another experiment (`lab list` shows them)")
    found = [one for experiment, arms in picked if arms for one in _verify(experiment, record, arms, job)]
    counts = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in (EQUAL, DRAW, DIFFERENT))
    print(f"{len(found)} arms: {counts}", flush=True)
    if DRAW in found:
        words = "whether a change of the code changed a number, `lab verify --against COMMIT` tells to the bit"
        print(words, flush=True)
    return int(DIFFERENT in found)


def pick(experiment: Experiment, record: Record, count: int, digests: Sequence[str] = ()) -> list[Arm]:
    """The recorded arms to compute again: the named ones, else the cheapest that hold more than times and memory."""
    today = {experiment.digest(cfg) for cfg in experiment.arms("full")}
    arms = [arm for arm in experiment.current(record.load(experiment.name)) if arm.digest in today]
    able = [arm for arm in arms if not all(map(is_of_the_machine, arm.table.columns))]
    if digests:
        return [arm for arm in able if arm.digest in digests]
    return sorted(able, key=lambda arm: (arm.cpu_seconds, arm.digest))[:count]


def _verify(experiment: Experiment, record: Record, arms: Sequence[Arm], job: dict[str, Any]) -> list[str]:
    """The verdict on each arm, said in a line as it is known."""
    configs = {experiment.digest(cfg): cfg for cfg in experiment.arms("full")}
    wanted = [configs[arm.digest] for arm in arms]
    show = progress_line(experiment.name, live=job["live"])
    with contextlib.suppress(ArmsFailed):  # each says below why
        here = job["workers"] == 1 and cluster.wanted() is None
        run_all(experiment, wanted, in_process=here, progress=show)
    found, recorded = [], record.load(experiment.name)
    for arm in arms:
        again = Store(lab_home()).load(experiment.name, arm.digest)
        seeds = [one for one in recorded if one.config | {"seed": None} == arm.config | {"seed": None}]
        verdict, words = judge(arm, again, seeds)
        found.append(verdict)
        print(f"{experiment.name} {arm.digest}: {words}", flush=True)
        if again is not None and (elsewhere := origins(arm, again)):
            print(f"    {elsewhere}", flush=True)
    return found


def judge(arm: Arm, again: Arm | None, seeds: Sequence[Arm]) -> tuple[str, str]:
    """The verdict on an arm, and in words; `seeds` are the recorded arms of its condition."""
    if again is None or again.table is None:
        reason = "its process died" if again is None else again.error
        return DIFFERENT, f"different: could not be computed: {reason}"
    found = differences(arm.table, again.table, exact=False)
    sealed = arm.facts.get("fingerprint")
    if not found and sealed in (None, fingerprint(as_first_recorded(again.table, arm))):
        return EQUAL, "equal, bit for bit" if sealed else "equal in every recorded digit"
    words = ", ".join(f"{name} ({how})" for name, how in found.items()) or "only below the recorded digits"
    same = same_instructions(arm.provenance, again.provenance)
    if same:
        return DIFFERENT, f"different, on the same instruction set: {words}"
    why = "the record does not name its instruction set" if same is None else "the instruction sets differ"
    outside = share_outside(again.table, [one.table for one in seeds])
    if outside > OUTSIDE:
        words = f"{outside:.0%} of the numbers lie outside those of {len(seeds)} recorded seeds: {words}"
        return DIFFERENT, f"different, by more than another instruction set explains ({why}): {words}"
    inside = f"{1 - outside:.0%} of the numbers lie among those of {len(seeds)} recorded seeds"
    return DRAW, f"equal but for the instruction set ({why}; {inside}): {words}"


def origins(arm: Arm, again: Arm) -> str:
    """In what the two were made differently: code, versions, processor, corpus, instructions; empty if in nothing."""
    there, here = ({"corpus": one.facts.get("corpus"), **one.provenance} for one in (arm, again))
    parts = [
        f"{name} {there[name]}, here {here[name] or 'unknown'}"
        for name in there
        if there[name] and name in here and name not in _OF_THE_RUN and there[name] != here[name]
    ]
    used = [_spell(one.get("instructions")) for one in (there, here)]
    if used[0] != used[1]:
        parts.append(f"instruction sets {used[0]}, here {used[1]}")
    if here["dirty"]:
        parts.append("here with uncommitted changes")
    return f"recorded with {'; '.join(parts)}" if parts else ""


def _spell(instructions: dict[str, str | None] | None) -> str:
    if instructions is None:
        return "not named"
    held = [f"{name} {instructions[name] or 'any'}" for name in ("torch", "mkl", "onednn")]
    flags = instructions["processor"].split()
    widest = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX2 nor AVX-512"
    return f"{', '.join(held)} on a processor with {widest}"


if __name__ == "__main__":
    processes.serve(lambda job, _: with_usable_workers(verify_all, job))
