"""A table comes back from both stores as it was saved, whatever it holds, or is refused."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from lablib.core.columns import column_types
from lablib.core.config import Config
from lablib.core.experiment import Experiment
from lablib.core.store import Arm, Record, Store

FIELDS = {"experiment": "testing/kept", "version": 1, "config": {}, "status": "ok", "error": None, "cpu_seconds": 1.0}


def arm(table: pd.DataFrame, digest: str = "0123456789ab") -> Arm:
    return Arm(table=table, digest=digest, provenance={}, facts={}, **FIELDS)


def objects(*values) -> pd.Series:
    return pd.Series(values, dtype=object)


def text(*values) -> pd.Series:
    return pd.Series(values, dtype="str")


COLUMNS = {
    "numbers in text": text("007", "5", "1e5", "0x1f", "-0", " 1", "1_000"),
    "words of gaps": text("NA", "nan", "NaN", "None", "null", "<NA>", "N/A", "-inf"),
    "words of truth": text("True", "False", "true", "yes"),
    "blank": text("", " ", "\t", "a "),
    "gaps and blanks": text("", None, "a"),
    "gaps": text(None, "a", None),
    "gaps alone": text(None, None),
    "marks": text('"', "'", ",", ";", '""', 'a "b", c', "#", "\\", "\\n", "[1]", "{}", "=1+1"),
    "lines": text("a\nb", "\n", "a\r\nb", "\r", "a\rb", "\x0b", "\u2028", "\u0085"),
    "letters": text("\u00fc", "\u65e5\u672c", "\U0001f600", "e\u0301", "\ufeff", "\u202e", "\x00", "a\x00b"),
    "half a letter": objects("\ud800", "a"),
    "floats": pd.Series([0.5, -0.0, 1e300, 3.0, math.nan, math.inf, -math.inf]),
    "whole floats": pd.Series([1.0, -0.0, 2.0**52]),
    "gaps for floats": pd.Series([math.nan, math.nan]),
    "integers": pd.Series([2**53 + 1, -(2**63), 2**63 - 1]),
    "unsigned": pd.Series([2**64 - 1, 0], dtype="uint64"),
    "beyond": objects(2**64, -(2**200), 1),
    "small": pd.Series([1, -2], dtype="int8"),
    "single": pd.Series([0.1, math.nan, math.inf, 1e-45], dtype="float32"),
    "half": pd.Series([0.1, 65504], dtype="float16"),
    "truth": pd.Series([True, False]),
    "truth and gaps": objects(True, None, False),
    "truth as objects": objects(True, False),
    "integers as objects": objects(1, 2),
    "integers and gaps": objects(1, None),
    "floats as objects": objects(0.5, None, math.nan, -0.0),
    "text as objects": objects("a", None, "007"),
    "nothing": objects(None, None),
    "mixed": objects("1", 1, 1.0, True, None, "", math.inf),
    "lists": objects([1, [2.0, "x"]], [], [None]),
    "mappings": objects({"b": 1, "a": [True]}, {}),
    "no rows": pd.Series([], dtype="float64"),
    "no rows of text": text(),
    "no rows of objects": objects(),
    "one row": pd.Series([3]),
}


@pytest.mark.parametrize("column", COLUMNS.values(), ids=COLUMNS)
def test_a_column_comes_back_from_both_stores(column, tmp_path):
    table = pd.DataFrame({"before": range(len(column)), "x": column})
    kept = arm(table)
    Store(tmp_path).save(kept)
    assert_same(Store(tmp_path).load("testing/kept", kept.digest).table, table)
    record, beside = Record(tmp_path), arm(pd.DataFrame({"x": [1.5], "other": ["a"]}), "b" * 12)
    record.save("testing/kept", [kept, beside])
    one, two = record.load("testing/kept")
    assert_same(one.table, table)
    assert_same(two.table, beside.table)
    written = {path.name: path.read_bytes() for path in (tmp_path / "testing").glob("kept.*")}
    record.save("testing/kept", [one, two])
    assert {path.name: path.read_bytes() for path in (tmp_path / "testing").glob("kept.*")} == written


def assert_same(found: pd.DataFrame, table: pd.DataFrame) -> None:
    """Equal types and values, also of -0.0 and 1 against 1.0 or True within a column of objects."""
    assert_frame_equal(found, table, check_exact=True)
    for name in table:
        assert [*map(repr, found[name].tolist())] == [*map(repr, table[name].tolist())]


NAMES = [" ", "a,b", 'a "b"', "a\nb", "x.1", "x", "Unnamed: 0", "0", "NA", "\u00fc", "index", "digest", "a" * 300]


@pytest.mark.parametrize("names", [NAMES, [""], ["", "x"]], ids=["odd", "empty", "empty and another"])
def test_columns_may_have_odd_names(names, tmp_path):
    table = pd.DataFrame({name: [i, i + 1] for i, name in enumerate(names)})
    Store(tmp_path).save(arm(table))
    Record(tmp_path).save("testing/kept", [arm(table)])
    for found in (Store(tmp_path).load("testing/kept", "0123456789ab"), *Record(tmp_path).load("testing/kept")):
        assert_same(found.table, table)


def test_a_table_without_rows_and_columns_comes_back(tmp_path):
    for table in (pd.DataFrame(), pd.DataFrame({"x": []})):
        Store(tmp_path).save(arm(table))
        Record(tmp_path).save("testing/kept", [arm(table)])
        for found in (Store(tmp_path).load("testing/kept", "0123456789ab"), *Record(tmp_path).load("testing/kept")):
            assert (len(found.table), list(found.table.columns)) == (0, list(table.columns))


def test_a_tuple_comes_back_as_a_list(tmp_path):
    Record(tmp_path).save("testing/kept", [arm(pd.DataFrame({"x": objects((1, (2,)), ())}))])
    assert Record(tmp_path).load("testing/kept")[0].table["x"].tolist() == [[1, [2]], []]


def test_an_arm_that_was_kept_before_the_types_were_is_still_read(tmp_path):
    kept = arm(pd.DataFrame({"x": [0.5, 1.0], "n": [1, 2], "s": ["a", None]}))
    text = json.dumps(kept.header()).removesuffix("}") + ',\n"table": {"x": [0.5, 1.0], "n": [1, 2], "s": ["a", null]}}'
    path = Store(tmp_path).path("testing/kept", kept.digest)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert_frame_equal(Store(tmp_path).load("testing/kept", kept.digest).table, kept.table)


REFUSED = {
    "two of a name": (pd.DataFrame([[1, 2]], columns=["x", "x"]), "two columns are called 'x'"),
    "numbers as names": (pd.DataFrame([[1, 2]]), "a column is called 0; expected printable text"),
    "half a line as a name": (pd.DataFrame({"a\rb": [1]}), r"a column is called 'a\\rb'; expected printable text"),
    "rows alone": (pd.DataFrame(index=range(3)), "the table has 3 rows and no column"),
    "the name of the arm": (pd.DataFrame({"arm": [1]}), "a column is called 'arm'"),
    "dates": (
        pd.DataFrame({"x": pd.to_datetime(["2020-01-01"])}),
        r"column 'x' is of type datetime64\[\w+\]; expected",
    ),
    "categories": (pd.DataFrame({"x": pd.Categorical(["a"])}), "column 'x' is of type category; expected"),
    "nullable": (pd.DataFrame({"x": pd.array([1, None], dtype="Int64")}), "column 'x' is of type Int64; expected"),
    "complex": (pd.DataFrame({"x": [1j]}), "column 'x' is of type complex128; expected"),
    "objects": (
        pd.DataFrame({"x": [object()]}),
        "column 'x': Object of type object is not JSON serializable; expected",
    ),
    "arrays": (pd.DataFrame({"x": [np.ones(2)]}), "column 'x': Object of type ndarray is not JSON serializable"),
    "numbers as keys": (pd.DataFrame({"x": [{1: 2}]}), r"column 'x' has \{1: 2\}, which JSON changes; expected"),
}


@pytest.mark.parametrize(("table", "words"), REFUSED.values(), ids=REFUSED)
def test_a_table_that_would_come_back_otherwise_is_refused_and_fails_its_arm(table, words, tmp_path):
    for save in (Store(tmp_path).save, lambda one: Record(tmp_path).save("testing/kept", [one])):
        with pytest.raises(ValueError, match=words):
            save(arm(table))
    assert not list(tmp_path.rglob("*.*"))
    found = Experiment(lambda _: table, "testing/kept", 1, None).compute(Config())
    assert (found.status, found.table) == ("failed", None)


def test_the_index_and_the_names_of_axes_are_no_part_of_a_table():
    wide = pd.DataFrame({"a": [1, 1], "b": ["x", "y"], "c": [0.5, 1.5]}).pivot(index="a", columns="b", values="c")
    computed = Experiment(lambda _: wide, "testing/kept", 1, None).compute(Config())
    assert_same(computed.table, pd.DataFrame({"x": [0.5], "y": [1.5]}))


def test_the_types_of_the_committed_record_are_those_that_would_be_written_today():
    record = Record()
    for path in sorted(record.root.glob("ttt/*.jsonl")):
        for line, kept in zip(record.headers(f"ttt/{path.stem}"), record.load(f"ttt/{path.stem}"), strict=True):
            assert column_types(kept.table) == line["columns"]
            assert dataclasses.asdict(kept)["digest"] == line["digest"]
