"""Where runs are kept: one JSON file an arm in the own store, one CSV and one JSONL an experiment in the record."""

import contextlib
import csv
import dataclasses
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lablib.core.checkout import PROJECT
from lablib.core.columns import as_json, column_types, restored, typed, written
from lablib.core.files import lab_home as lab_home
from lablib.core.files import write_atomically


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


def joined(arms: Sequence[Arm], store: str) -> pd.DataFrame:
    """The measurements of the arms, and beside each row the configuration, the arm's digest, CPU seconds and store.

    A field that an arm does not have is NaN there. Without arms the table is empty.
    """
    if not arms:
        return pd.DataFrame()
    tables, facts = [], []
    for arm in arms:
        assert arm.table is not None, f"arm {arm.digest} of {arm.experiment} has no table: {arm.error}"
        tables.append(arm.table)
        own = {"arm": arm.digest, "cpu_seconds": arm.cpu_seconds, "store": store}
        facts.append({key: _plain(value) for key, value in arm.config.items()} | own)
    beside: dict[str, Any] = {}
    for name in dict.fromkeys(name for own in facts for name in own):
        values = [own.get(name, np.nan) for own in facts]
        told = pd.Series(values, dtype=object if any(value is None for value in values) else None)
        beside[name] = told.repeat([len(table) for table in tables]).array
    return pd.concat([pd.DataFrame(beside), pd.concat(tables, ignore_index=True)], axis=1)


class Store:
    """Arms as files `<root>/<experiment>/<digest>.json`, each written whole or not at all; the header is a line."""

    def __init__(self, root: Path):
        self.root = root

    def path(self, experiment: str, digest: str) -> Path:
        return self.root / experiment / f"{digest}.json"

    def save(self, arm: Arm) -> None:
        """Keep an arm. ValueError for a table that would not come back as it is, see `column_types`."""
        table, types = None, {}
        if arm.table is not None:
            types = column_types(arm.table)
            table = {name: as_json(column, types[name]) for name, column in arm.table.items()}
        rest = f'"columns": {json.dumps(types)}, "table": {json.dumps(table)}'
        write_atomically(
            self.path(arm.experiment, arm.digest), json.dumps(arm.header()).removesuffix("}") + f",\n{rest}}}"
        )

    def load(self, experiment: str, digest: str) -> Arm | None:
        """The arm, or None where there is none or its file is damaged (it is then computed again)."""
        try:
            fields = json.loads(self.path(experiment, digest).read_text())
            table, types = fields.pop("table"), fields.pop("columns", {})  # without: from before the types were kept
            if table is not None:
                if len({len(values) for values in table.values()}) > 1:
                    return None
                columns = {name: restored(values, types.get(name, "json")) for name, values in table.items()}
                table = pd.DataFrame(columns, columns=pd.Index(list(columns), dtype=str))
            return Arm(table=table, **fields)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def finished(self, experiment: str) -> set[str]:
        """The digests of the arms that ended well, read without their tables."""
        found = set()
        for path in self.path(experiment, "x").parent.glob("[!.]*.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError), path.open() as file:
                header = json.loads(file.readline().removesuffix(",\n") + "}")
                if header["status"] == "ok":
                    found.add(path.stem)
        return found


class Record:
    """The committed results: `<root>/<experiment>.csv` with the rows and `.jsonl` with an arm a line.

    A line is the header of an arm, and the type of each column of its table. A column of the CSV that a line does not
    name is no column of that arm; one that it names may be empty.
    """

    def __init__(self, root: Path = PROJECT / "notebooks" / "results"):
        self.root = root

    def headers(self, experiment: str) -> list[dict[str, Any]]:
        """The line of each arm, with its `columns`, without reading a row; an empty list where nothing is recorded.

        Raises ValueError for a line that is not whole.
        """
        path = self.root / f"{experiment}.jsonl"
        if not path.exists():
            return []
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        if not all("columns" in line for line in lines):
            raise ValueError(f"{path.name} has an arm without the types of its columns; git checkout {path.name}")
        return lines

    def load(self, experiment: str) -> list[Arm]:
        """All recorded arms of an experiment; an empty list where nothing is recorded."""
        alike: dict[tuple, list[dict[str, Any]]] = {}  # the lines by the columns that they name
        headers = self.headers(experiment)
        for line in headers:
            alike.setdefault(tuple(line["columns"].items()), []).append(line)
        if not headers:
            return []
        tables, cells = {}, self._cells(experiment)
        for columns, lines in alike.items():
            rows = cells[cells["arm"].isin([line["digest"] for line in lines])]
            table = pd.DataFrame({name: typed(rows[name], kind) for name, kind in columns}, index=rows.index)
            places = table.groupby(rows["arm"].array).indices
            tables |= {line["digest"]: table.iloc[places.get(line["digest"], [])] for line in lines}
        kept = [{name: value for name, value in line.items() if name != "columns"} for line in headers]
        return [Arm(table=tables[line["digest"]].reset_index(drop=True), **line) for line in kept]

    def _cells(self, experiment: str) -> pd.DataFrame:
        """The CSV as text; a gap is NaN."""
        with (self.root / f"{experiment}.csv").open(encoding="utf-8", newline="") as file:
            names = next(csv.reader(file))
            return pd.read_csv(file, header=None, names=names, dtype=str, keep_default_na=False, na_values=[""])

    def save(self, experiment: str, arms: Iterable[Arm]) -> None:
        """Write the arms, sorted by configuration, so that a recording changes only the lines it must."""
        tables, lines = [], []
        for arm in sorted(arms, key=lambda arm: json.dumps(arm.config, sort_keys=True)):
            kinds = column_types(arm.table)
            cells = {name: written(column, kinds[name]) for name, column in arm.table.items()}
            tables.append(pd.DataFrame({"arm": arm.digest, **cells}, index=arm.table.index, dtype=object))
            lines.append(_line(arm, kinds))
        write_atomically(self.root / f"{experiment}.csv", pd.concat(tables).to_csv(index=False))
        write_atomically(self.root / f"{experiment}.jsonl", "".join(lines))

    def rewrite(self, experiment: str, arms: dict[str, tuple[Arm, list[str]]]) -> None:
        """By digest recorded arms and the columns of theirs that have changed: all else stays to the byte.

        What is said of the arms is written first: a call that is stopped in between is made good by the next.
        """
        path, cells = self.root / f"{experiment}.jsonl", self._cells(experiment)
        lines = {json.loads(line)["digest"]: line for line in path.read_text().splitlines(keepends=True)}
        for digest, (arm, columns) in arms.items():
            kinds = column_types(arm.table)
            lines[digest] = _line(arm, kinds)
            for name in columns:
                cells.loc[cells["arm"] == digest, name] = [str(cell) for cell in written(arm.table[name], kinds[name])]
        write_atomically(path, "".join(lines.values()))
        write_atomically(path.with_suffix(".csv"), cells.to_csv(index=False))


def _line(arm: Arm, kinds: dict[str, str]) -> str:
    header = json.dumps(arm.header(), sort_keys=True).removesuffix("}")
    return f'{header}, "columns": {json.dumps(kinds)}}}\n'


def _plain(value: Any) -> Any:
    """Lists (a tuple after JSON) as text, so that any column can be grouped by."""
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else value
