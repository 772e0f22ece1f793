"""`lab verify`: recorded arms computed again from nothing, and held against the record in every digit it keeps.

The record rounds to six significant digits, so that its files stay small; an arm recorded with a fingerprint of its
unrounded table is compared bit for bit. What a machine measures of itself (times, memory) is left out.
"""

import contextlib
import numbers
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lablib.app import processes
from lablib.app.errors import BadInput
from lablib.app.pipeline import caught_signals
from lablib.app.record import RESULTS, attend
from lablib.app.recording import choose, current, fingerprint, is_of_the_machine
from lablib.core.experiment import ArmsFailed, Experiment, all_experiments, run_all
from lablib.core.progress import progress_line
from lablib.core.provenance import provenance
from lablib.core.store import PROJECT, Arm, Record, Store, lab_home

_OF_THE_RUN = ("finished", "dirty", "cores")  # what may differ without a word


def verify(experiments: Sequence[str], *, count: int, digests: Sequence[str], workers: int) -> int:
    """Compute recorded arms again in a store of their own; the exit code: 0 all equal, 1 not, 128 + n by signal n."""
    if count < 1:
        raise BadInput(f"--arms is {count}; expected a whole number of at least 1")
    home = Path(tempfile.mkdtemp(prefix="lab-verify-"))  # no arm and no model of before can be found in it
    job = {"experiments": list(experiments), "count": count, "digests": list(digests), "workers": workers}
    job |= {"results": str(PROJECT / RESULTS), "live": sys.stdout.isatty()}
    environ = os.environ | {"LAB_HOME": str(home), "LAB_WORKERS": str(workers)}
    environ |= {"OMP_NUM_THREADS": "1", "LAB_INTERACTIVE": "0"}
    try:
        with caught_signals() as caught:
            mark = f"verify {home}"
            child = processes.start("lablib.app.verify", job, mark=mark, environ=environ, quiet=False)
            return attend(child, caught)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def main() -> None:
    job, tell = processes.begin_child()
    try:
        code = verify_all(job)
    except BadInput as error:
        tell({"refused": str(error)})
        code = 2
    sys.stdout.flush()
    os._exit(code)


def verify_all(job: dict[str, Any]) -> int:
    """Compute and compare what the job asks for; 1 unless every arm is equal."""
    record = Record(Path(job["results"]))
    chosen = choose(all_experiments(), job["experiments"])
    picked = [(one, pick(one, record, job["count"], job["digests"])) for one in chosen]
    known = {arm.digest for _, arms in picked for arm in arms}
    if unknown := [digest for digest in job["digests"] if digest not in known]:
        raise BadInput(f"no recorded arm {unknown[0]} can be compared; their digests are in {RESULTS}/*/*.jsonl")
    if not known:
        raise BadInput("nothing is recorded that could be compared; name another experiment (`lab list` shows them)")
    equal = [one for experiment, arms in picked for one in _verify(experiment, record, arms, job)]
    print(f"{sum(equal)} of {len(equal)} arms equal", flush=True)
    return int(not all(equal))


def pick(experiment: Experiment, record: Record, count: int, digests: Sequence[str] = ()) -> list[Arm]:
    """The recorded arms to compute again: the named ones, else the cheapest that hold more than times and memory."""
    today = {experiment.digest(cfg) for cfg in experiment.arms("full")}
    arms = [arm for arm in current(experiment, record.load(experiment.name)) if arm.digest in today]
    able = [arm for arm in arms if not all(map(is_of_the_machine, arm.table.columns))]
    if digests:
        return [arm for arm in able if arm.digest in digests]
    return sorted(able, key=lambda arm: (arm.cpu_seconds, arm.digest))[:count]


def _verify(experiment: Experiment, record: Record, arms: Sequence[Arm], job: dict[str, Any]) -> list[bool]:
    """Whether each arm is equal, said in a line as it is known."""
    if not arms:
        return []
    configs = {experiment.digest(cfg): cfg for cfg in experiment.arms("full")}
    wanted = [configs[arm.digest] for arm in arms]
    show = progress_line(experiment.name, live=job["live"])
    with contextlib.suppress(ArmsFailed):  # each says below why
        run_all(experiment, wanted, in_process=job["workers"] == 1, progress=show)
    rows = recorded_rows(record, experiment.name)
    equal = []
    for arm in arms:
        again = Store(lab_home()).load(experiment.name, arm.digest)
        same, words = judge(arm, rows[arm.digest], again)
        equal.append(same)
        print(f"{experiment.name} {arm.digest}: {words}", flush=True)
        if elsewhere := origins(arm, again):
            print(f"    {elsewhere}", flush=True)
    return equal


def judge(arm: Arm, rows: pd.DataFrame, again: Arm | None) -> tuple[bool, str]:
    """Whether the arm came out as it is recorded, and in words."""
    if again is None or again.table is None:
        reason = "its process died" if again is None else again.error
        return False, f"could not be computed: {reason}"
    if found := differences(rows, again.table):
        return False, "differs: " + ", ".join(f"{name} ({words})" for name, words in found.items())
    if "fingerprint" not in arm.facts:
        return True, "equal in every recorded digit"
    if arm.facts["fingerprint"] != fingerprint(again.table):
        return False, "differs, but only below the recorded digits"
    return True, "equal, bit for bit"


def recorded_rows(record: Record, name: str) -> dict[str, pd.DataFrame]:
    """The rows of each arm as the text that the record holds: what reading it as numbers might lose is kept."""
    table = pd.read_csv(record.root / f"{name}.csv", dtype=str, keep_default_na=False)
    return {digest: rows.drop(columns="arm") for digest, rows in table.groupby("arm")}


def differences(recorded: pd.DataFrame, computed: pd.DataFrame) -> dict[str, str]:
    """Each column in which they differ, and how; a column that one of them lacks is one of gaps."""
    if len(recorded) != len(computed):
        return {"rows": f"{len(recorded)} recorded, {len(computed)} computed"}
    found = {}
    for name in dict.fromkeys([*recorded.columns, *computed.columns]):
        if not is_of_the_machine(name):
            old = recorded[name].tolist() if name in recorded else [""] * len(recorded)
            new = computed[name].tolist() if name in computed else [None] * len(computed)
            pairs = [(text, value) for text, value in zip(old, new, strict=True) if not _is_recorded_as(value, text)]
            if pairs:
                found[name] = _largest(pairs)
    return found


def _is_recorded_as(value: Any, text: str) -> bool:
    if pd.isna(value):
        return text == ""
    if _is_number(value):
        read = _number(text)
        return read is not None and (read == value or read == float(f"{value:.6g}"))  # as Record.save rounds
    return text == str(value)


def _largest(pairs: list[tuple[str, Any]]) -> str:
    """The largest difference of the pairs that are numbers; else the first pair as it stands."""
    numeric = [(_number(text), value) for text, value in pairs if _is_number(value) and _number(text) is not None]
    if numeric:
        return f"largest difference {max(abs(old - new) for old, new in numeric):.3g}"
    text, value = pairs[0]
    return f"{text or 'nothing'} recorded, {'nothing' if pd.isna(value) else value} computed"


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _number(text: str) -> float | None:
    with contextlib.suppress(ValueError):
        return float(text)
    return None


def origins(arm: Arm, again: Arm | None) -> str:
    """In what the two were made differently: code, versions, processor, corpus; empty where in nothing."""
    here = provenance() | ({"corpus": again.facts["corpus"]} if again and "corpus" in again.facts else {})
    there = arm.provenance | ({"corpus": arm.facts["corpus"]} if "corpus" in arm.facts else {})
    parts = [
        f"{name} {there[name]}, here {here[name]}"
        for name in there
        if name in here and name not in _OF_THE_RUN and there[name] != here[name]
    ]
    if here["dirty"]:
        parts.append("here with uncommitted changes")
    return f"recorded with {'; '.join(parts)}" if parts else ""


if __name__ == "__main__":
    main()
