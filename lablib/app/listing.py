"""`lab list`: the notebooks with question and last run, the subjects and experiments with what is there of them."""

import contextlib
import hashlib
import json
import shutil
import textwrap
from collections.abc import Iterator
from pathlib import Path

from lablib.app import checks
from lablib.app.display import minutes
from lablib.app.errors import BadInput
from lablib.app.notebook import load, question
from lablib.app.run_state import RunState, all_runs
from lablib.core.config import SCALES
from lablib.core.experiment import all_experiments
from lablib.core.store import PROJECT, Record, Store, lab_home, write_atomically

HEAD = ("arms", "own", "recorded", "missing")


def notebook_lines(out: Path) -> Iterator[str]:
    """A line a notebook: its name, its last run, and its question, cut to the width of the terminal."""
    runs, paths = all_runs(out), checks.all_notebooks()
    rows = [(path.stem, _last_run(path.stem, runs), _question(path)) for path in paths]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    room = max(30, shutil.get_terminal_size((120, 24)).columns - sum(widths) - 4)
    for name, last, asked in rows:
        yield f"{name:<{widths[0]}}  {last:<{widths[1]}}  {textwrap.shorten(asked, room, placeholder=' ...')}"
    if not paths:
        yield "no notebook yet"


def _question(path: Path) -> str:
    try:
        return question(load(path)) or "(it asks no question yet)"
    except BadInput as error:
        return f"(cannot be read: {error})"


def _last_run(name: str, runs: list[RunState]) -> str:
    for record in reversed(runs):
        for run in record.notebooks:
            status = record.seen_status_of(run)
            if run.name == name and (run.started or status == "running"):
                took = f", {minutes(run.wall_seconds)}" if run.wall_seconds is not None else ""
                return f"{status}, {record.scale}{took}, {record.id}"
    return "never run"


def subject_lines() -> Iterator[str]:
    """A line a subject: its experiments, and how many of their full-scale arms are own, recorded and missing."""
    found: dict[str, list[tuple[int, ...]]] = {}
    for name, wanted in full_arms().items():
        found.setdefault(name.partition("/")[0], []).append(_counts(name, wanted))
    rows = [(subject, len(counts), *map(sum, zip(*counts, strict=True))) for subject, counts in found.items()]
    yield from _table(("subject", "experiments", *HEAD), rows)


def experiment_lines(subject: str) -> Iterator[str]:
    """A line an experiment and scale of a subject: how many of its arms are own, recorded and missing.

    Raises BadInput for a subject that is not there.
    """
    known = all_experiments()
    chosen = {name: one for name, one in known.items() if name.partition("/")[0] == subject}
    if not chosen:
        subjects = ", ".join(dict.fromkeys(name.partition("/")[0] for name in known))
        raise BadInput(f"there is no subject {subject!r}; expected one of: {subjects}")
    rows = [
        (name, scale, *_counts(name, [one.digest(cfg) for cfg in one.arms(scale)]))
        for name, one in chosen.items()
        for scale in SCALES
    ]
    yield from _table(("experiment", "scale", *HEAD), rows)


def full_arms() -> dict[str, list[str]]:
    """The digests of the full-scale arms by experiment, kept in LAB_HOME until the code changes.

    To build them takes torch, which takes longer to import than all the rest of `lab list`.
    """
    code = [(path, path.stat()) for top in ("lablib", "kernels") for path in sorted((PROJECT / top).rglob("*.py"))]
    facts = [(str(path.relative_to(PROJECT)), stat.st_size, stat.st_mtime_ns) for path, stat in code]
    stamp, place = hashlib.sha256(repr(facts).encode()).hexdigest(), lab_home() / "arms.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        kept = json.loads(place.read_text())
        if kept["code"] == stamp:
            return kept["arms"]
    arms = {name: [one.digest(cfg) for cfg in one.arms("full")] for name, one in all_experiments().items()}
    with contextlib.suppress(OSError):
        write_atomically(place, json.dumps({"code": stamp, "arms": arms}))
    return arms


def _counts(name: str, digests: list[str]) -> tuple[int, int, int, int]:
    wanted, own = set(digests), Store(lab_home()).finished(name)
    recorded = {line["digest"] for line in Record().headers(name) if line["status"] == "ok"}
    return len(wanted), len(wanted & own), len(wanted & recorded), len(wanted - own - recorded)


def _table(head: tuple[str, ...], rows: list[tuple]) -> Iterator[str]:
    lines = [head, *(tuple(map(str, row)) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        yield "  ".join(
            f"{cell:>{width}}" if column and head[column] != "scale" else f"{cell:<{width}}"
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
