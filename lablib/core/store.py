"""Where runs are kept: one JSON file an arm in the own store, one CSV and one JSONL an experiment in the record."""

import contextlib
import dataclasses
import errno
import json
import os
import tempfile
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

PROJECT = Path(__file__).resolve().parents[2]
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # the disk, a person's share of it, or the size of a file


def lab_home() -> Path:
    """The folder of everything that a person runs: LAB_HOME, else `.lab` in the project root."""
    return Path(os.environ.get("LAB_HOME") or PROJECT / ".lab")


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a whole file or nothing: into a neighbour first, on disk, then renamed over `path`.

    Raises OSError; on a full disk its text says what to do, as it may end a sweep in a notebook of hours.
    """
    try:
        _write_beside(path, content.encode() if isinstance(content, str) else content)
    except OSError as error:
        if error.errno not in FULL:
            raise
        words = f"the disk is full ({error.strerror}), {path.name} cannot be written; make room and go on"
        raise OSError(error.errno, words) from None


def _write_beside(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arm:
    """One run of an experiment: what was asked, what came of it, and where it was made."""

    experiment: str
    version: int
    digest: str
    config: dict[str, Any]
    status: str  # "ok" or "failed"
    error: str | None
    cpu_seconds: float
    provenance: dict[str, Any]
    facts: dict[str, Any]  # what the run says of its inputs, such as the hash of a corpus
    table: pd.DataFrame | None  # measurement columns; None unless the status is "ok"

    def header(self) -> dict[str, Any]:
        """Everything but the table, as JSON takes it."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "table"}

    def joined(self, store: str) -> pd.DataFrame:
        """The measurements, and beside each row the configuration, the arm's digest, CPU seconds and store."""
        assert self.table is not None, f"arm {self.digest} of {self.experiment} has no table: {self.error}"
        extra = {key: [_plain(value)] * len(self.table) for key, value in self.config.items()}
        table = pd.DataFrame(extra, index=self.table.index)
        table = table.assign(arm=self.digest, cpu_seconds=self.cpu_seconds, store=store)
        return pd.concat([table, self.table], axis=1)


class Store:
    """Arms as files `<root>/<experiment>/<digest>.json`, each written whole or not at all."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, experiment: str, digest: str) -> Path:
        return self.root / experiment / f"{digest}.json"

    def save(self, arm: Arm) -> None:
        table = None if arm.table is None else arm.table.to_dict(orient="list")
        write_atomically(self.path(arm.experiment, arm.digest), json.dumps(arm.header() | {"table": table}))

    def load(self, experiment: str, digest: str) -> Arm | None:
        """The arm, or None where there is none or its file is damaged (it is then computed again)."""
        try:
            fields = json.loads(self.path(experiment, digest).read_text())
            table = fields.pop("table")
            return Arm(table=None if table is None else pd.DataFrame(table), **fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


class Record:
    """The committed results: `<root>/<experiment>.csv` with the rows and `.jsonl` with an arm a line."""

    def __init__(self, root: Path = PROJECT / "notebooks" / "results"):
        self.root = root

    def load(self, experiment: str) -> list[Arm]:
        """All recorded arms of an experiment; an empty list where nothing is recorded."""
        headers, rows = self.root / f"{experiment}.jsonl", self.root / f"{experiment}.csv"
        if not headers.exists():
            return []
        table = pd.read_csv(rows, dtype={"arm": str}, keep_default_na=False, na_values=[""])
        tables = dict(list(table.groupby("arm", sort=False)))
        others = table.columns[table.notna().any()]  # empty in one arm, a column of other arms; empty in all, of all
        arms = []
        for line in headers.read_text().splitlines():
            fields = json.loads(line)
            own = tables[fields["digest"]].drop(columns="arm")
            absent = [name for name in own if name in others and own[name].isna().all()]
            arms.append(Arm(table=own.drop(columns=absent).reset_index(drop=True), **fields))
        return arms

    def save(self, experiment: str, arms: Iterable[Arm]) -> None:
        """Write the arms, sorted by configuration, so that a recording changes only the lines it must."""
        ordered = sorted(arms, key=lambda arm: json.dumps(arm.config, sort_keys=True))
        rows = pd.concat([arm.table.assign(arm=arm.digest) for arm in ordered])
        rows.insert(0, "arm", rows.pop("arm"))
        for name, column in rows.items():  # a gap turns whole numbers into floats, which six digits would round
            if pd.api.types.is_float_dtype(column) and (column.dropna() % 1 == 0).all():
                rows[name] = column.astype("Int64")
        text = StringIO()
        rows.to_csv(text, index=False, float_format="%.6g")
        write_atomically(self.root / f"{experiment}.csv", text.getvalue())
        lines = (json.dumps(arm.header(), sort_keys=True) for arm in ordered)
        write_atomically(self.root / f"{experiment}.jsonl", "\n".join(lines) + "\n")


def _plain(value: Any) -> Any:
    """Lists (a tuple after JSON) as text, so that any column can be grouped by."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
