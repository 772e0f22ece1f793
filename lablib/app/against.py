"""`lab verify --against COMMIT`: whether the code here and the code of a commit give the same numbers, bit for bit.

Both are computed on this machine with the same instruction sets; what the commit gave is kept for the next time. An
arm is matched by its digest, or by its place in `arms("full")` where the two codes name arms differently.
"""

import functools
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd

from lablib.app import compute_arms, processes
from lablib.app.compare import differences
from lablib.app.errors import BadInput
from lablib.app.record import RESULTS, choose, commit_of, has_gpu, is_of_the_machine, worktree
from lablib.core.experiment import Experiment, all_experiments
from lablib.core.provenance import provenance
from lablib.core.store import PROJECT, lab_home

Pairs = list[tuple[int, int]]  # the places of the same arm in the arms of both codes
# on these the bits of a result depend beside the code
_MACHINE = ("python", "torch", "numpy", "pandas", "processor", "instructions")


def compare_codes(job: dict[str, Any]) -> int:
    """Compute the cheapest arms of each experiment with both codes, say what differs; 1 if anything does."""
    commit, chosen = commit_of(PROJECT, job["against"]), choose(all_experiments(), job["experiments"])
    known = {name: value for name, value in provenance().items() if name in _MACHINE}
    machine = hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:12]
    folders = {"before": Path(job["keep"]) / commit / machine, "now": lab_home() / "results"}
    with worktree(PROJECT, commit) as tree, ThreadPoolExecutor(job["workers"]) as pool:
        before = _named(tree)
        picked = {one.name: _pick(one, before, tree, job["count"]) for one in chosen}
        pairs = [(name, pair) for name, found in picked.items() if isinstance(found, list) for pair in found]
        for number, (side, code) in enumerate((("before", tree), ("now", PROJECT))):
            tasks = [(name, pair[number], str(_file(folders[side], name, pair[number]))) for name, pair in pairs]
            missing = [task for task in tasks if isinstance(_table(Path(task[2])), str)]
            print(f"{side}: computing {len(missing)} of {len(tasks)} arms", flush=True)
            shares = [share for start in range(job["workers"]) if (share := missing[start :: job["workers"]])]
            list(pool.map(functools.partial(_compute, code, lab_home() / side), shares))
    return int(any([_differs(name, found, folders) for name, found in picked.items()]))


def _named(tree: Path) -> dict[str, Any]:
    """Versions and digests of the experiments of the code in a folder."""
    answer = lab_home() / "arms.json"
    _compute(tree, lab_home() / "before", [], answer)
    if not answer.exists():
        raise BadInput("the code of that commit cannot name its arms; choose a later commit")
    named = json.loads(answer.read_text())
    if not Path(named["origin"]).is_relative_to(tree):
        raise BadInput("another lablib than that commit's would be imported; unset PYTHONPATH, make setup")
    return named


def _pick(experiment: Experiment, before: dict[str, Any], tree: Path, count: int) -> Pairs | str:
    """The cheapest arms that the commit has on record, or why nothing is compared; an empty list if none is matched."""
    name = experiment.name
    if name not in before["versions"]:
        return "new, not compared"
    if before["versions"][name] != experiment.version:
        return f"version {before['versions'][name]} before, {experiment.version} now, not compared"
    if experiment.needs_gpu and not has_gpu():
        return "needs a GPU, not compared"
    headers, rows = (tree / RESULTS / f"{name}{ending}" for ending in (".jsonl", ".csv"))
    if not headers.exists():
        return "nothing is recorded, not compared"
    if all(is_of_the_machine(column) for column in pd.read_csv(rows, nrows=0).columns.drop("arm")):
        return "measures times and memory only, not compared"
    cost = {line["digest"]: line["cpu_seconds"] for line in map(json.loads, headers.read_text().splitlines())}
    there, here = before["arms"][name], [experiment.digest(cfg) for cfg in experiment.arms("full")]
    now = {digest: place for place, digest in enumerate(here)}
    by_place = len(there) == len(here) and not now.keys() & {*there}
    pairs = [
        (place, place if by_place else now[digest])
        for place, digest in enumerate(there)
        if digest in cost and (by_place or digest in now)
    ]
    return sorted(pairs, key=lambda pair: cost[there[pair[0]]])[:count]


def _compute(code: Path, home: Path, tasks: Sequence[tuple[str, int, str]], names: Path | str = "") -> None:
    """Let the code in a folder compute arms into files (experiment, place, file), or write how it names its arms."""
    command = [sys.executable, "-P", str(Path(compute_arms.__file__))]  # -P: not with this folder on its path
    job, environ = {"answer": str(names), "tasks": tasks}, os.environ | {"PYTHONPATH": str(code), "LAB_HOME": str(home)}
    subprocess.run(command, cwd=code, env=environ, input=json.dumps(job), text=True, check=False)


def _file(folder: Path, name: str, place: int) -> Path:
    return folder / name / f"{place}.json"


def _differs(name: str, picked: Pairs | str, folders: dict[str, Path]) -> bool:
    """Say of an experiment what was found; whether an arm differs or none could be matched."""
    if isinstance(picked, str):
        print(f"{name}: {picked}", flush=True)
        return False
    wrong = [] if picked else ["different: no recorded arm of the commit is one of today's"]
    for pair in picked:
        results = [_table(_file(folder, name, place)) for folder, place in zip(folders.values(), pair, strict=True)]
        errors = [f"{side}: {one}" for side, one in zip(folders, results, strict=True) if isinstance(one, str)]
        found = {} if errors else differences(*results, exact=True)
        if words := errors or [f"{column} ({how})" for column, how in found.items()]:
            wrong.append(f"arm {pair[1]} of arms('full') is different: {', '.join(words)}")
    print(f"{name}: {'; '.join(wrong) or f'equal, {len(picked)} arms'}", flush=True)
    return bool(wrong)


def _table(file: Path) -> pd.DataFrame | str:
    """What an arm gave, or why it gave nothing."""
    if not file.exists():
        return "its process died"
    kept = json.loads(file.read_text())
    return kept["error"] if kept["table"] is None else pd.DataFrame(kept["table"])


if __name__ == "__main__":
    processes.serve(lambda job, _: compare_codes(job))
