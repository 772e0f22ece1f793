"""How the columns of a table are kept: types by name, as JSON in the own store, as cells of a CSV in the record."""

import contextlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

# the types of a column that a CSV can hold; one of any other type is written as JSON, cell by cell
KINDS = {"int": "int64", "float": "float64", "bool": "bool", "text": "str"}
NOT_IN_CSV = re.compile("^$|[\0\r\ud800-\udfff]")  # text that a CSV loses: it is written as JSON


def column_types(table: pd.DataFrame) -> dict[str, str]:
    """The type by which each column comes back: one of KINDS, or `json`, with a name where JSON does not tell it.

    Raises ValueError for a table that would not come back as it is: of columns without a name of their own in text, of
    rows without a column, or of values that JSON does not give back.
    """
    names = list(table.columns)
    if odd := [name for name in names if not isinstance(name, str) or (name and NOT_IN_CSV.search(name))]:
        raise ValueError(f"a column is called {odd[0]!r}; expected printable text, as by table.rename(columns=str)")
    if len(set(names)) < len(names):
        raise ValueError(f"two columns are called {next(n for n in names if names.count(n) > 1)!r}; expected one each")
    if "arm" in names:
        raise ValueError("a column is called 'arm', as that of the digests in the record; rename it")
    if len(table) and not names:
        raise ValueError(f"the table has {len(table)} rows and no column; expected columns of what was measured")
    return {name: _kind(name, column) for name, column in table.items()}


def _kind(name: str, column: pd.Series) -> str:
    dtype = str(column.dtype)
    kind = next((kind for kind, known in KINDS.items() if known == dtype), "json")
    if kind != "json":
        return "json" if kind == "text" and any(map(NOT_IN_CSV.search, column.dropna())) else kind
    words = "expected numbers, True and False, text, or objects that JSON gives back"
    if dtype != "object" and (not isinstance(column.dtype, np.dtype) or column.dtype.kind not in "iuf"):
        raise ValueError(f"column {name!r} is of type {dtype}; {words}")
    try:
        values = [json.loads(cell) for cell in written(column, kind)]
        wrong = [value for value, back in zip(column.tolist(), values, strict=True) if not _same(value, back)]
    except (TypeError, ValueError) as error:
        raise ValueError(f"column {name!r}: {error}; {words}") from None
    if wrong:
        raise ValueError(f"column {name!r} has {wrong[0]!r}, which JSON changes; {words}")
    with contextlib.suppress(UnicodeEncodeError):  # half a letter, which pandas takes among objects alone
        if str(restored(values, "json").dtype) == dtype:
            return "json"
    return f"json {dtype}"


def _same(value: Any, back: Any) -> bool:
    """Whether JSON gave a value back, a tuple as a list."""
    if isinstance(value, list | tuple):
        return isinstance(back, list) and len(value) == len(back) and all(map(_same, value, back))
    if isinstance(value, dict):
        return isinstance(back, dict) and list(value) == list(back) and all(map(_same, value.values(), back.values()))
    return isinstance(value, type(back)) and (value == back or value != value)


def restored(values: Sequence[Any], kind: str) -> pd.Series:
    """Values that JSON gave, as the column that was saved."""
    return pd.Series(values, dtype=KINDS.get(kind) or kind.removeprefix("json").strip() or None)


def as_json(column: pd.Series, kind: str) -> list[Any]:
    """The values of a column as JSON takes them, a gap among text as None."""
    return column.astype(object).where(column.notna(), None).tolist() if kind == "text" else column.tolist()


def written(column: pd.Series, kind: str) -> list[Any]:
    """The cells of a column in the CSV: floats with six digits, whole numbers with all of them, a gap as None."""
    if kind.startswith("json"):
        return [json.dumps(value) for value in column.tolist()]
    if kind != "float":
        return as_json(column, "text")
    whole = (column.dropna() % 1 == 0).all() and column.abs().max() < 2**53
    spell = ".0f" if whole else ".6g"
    return [None if np.isnan(value) else format(value, spell) for value in column]


def typed(cells: pd.Series, kind: str) -> Any:
    """Cells of one type as the column that was saved."""
    if kind.startswith("json"):
        return restored([json.loads(cell) for cell in cells], kind).set_axis(cells.index)
    return (cells == "True" if kind == "bool" else cells.astype(KINDS[kind])).array
