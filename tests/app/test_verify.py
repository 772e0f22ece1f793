"""`lab verify`: the record is what the code computes, or it is said in what it is not."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from lablib.app import verify
from lablib.app.recording import fingerprint
from lablib.core.store import Arm, Record

from .tiny_lab import lab, make_checkout


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Path:
    """A checkout whose three arms are recorded."""
    project = make_checkout(tmp_path_factory.mktemp("project"))
    code, text = lab(project, "record", "--workers", "1")
    assert code == 0, text
    return project


def files(project: Path) -> dict[Path, bytes]:
    places = [path for name in (".lab", "notebooks") for path in (project / name).rglob("*")]
    return {path: path.read_bytes() for path in places if path.is_file()}


@pytest.mark.slow
def test_what_is_recorded_comes_out_again_bit_for_bit_in_a_store_of_its_own(recorded, tmp_path):
    before = files(recorded)
    code, text = lab(recorded, "verify", "--arms", "2", "--workers", "1", TMPDIR=str(tmp_path))
    assert code == 0, text
    assert text.count(": equal, bit for bit") == 2
    assert "2 of 2 arms equal" in text
    assert files(recorded) == before
    assert list(tmp_path.iterdir()) == []


def change_record(project: Path, number: int, change) -> str:
    """Change the recorded line of the arm with that number by hand; its digest."""
    path = project / "notebooks" / "results" / "longcontext" / "tiny.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    (arm,) = (line for line in lines if line["config"]["number"] == number)
    change(arm)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return arm["digest"]


@pytest.mark.slow
def test_a_difference_below_the_recorded_digits_is_found_where_there_is_a_fingerprint(recorded):
    without = change_record(recorded, 1, lambda arm: arm["facts"].pop("fingerprint"))  # recorded before there were any
    with_one = change_record(recorded, 2, lambda arm: None)
    arms = ["--arm", without, "--arm", with_one]
    code, text = lab(recorded, "verify", *arms, "--workers", "1", SKEW="1e-12")
    assert code == 1, text
    assert f"{without}: equal in every recorded digit" in text
    assert f"{with_one}: differs, but only below the recorded digits" in text
    assert "1 of 2 arms equal" in text


@pytest.mark.slow
def test_what_differs_is_named_with_the_largest_difference_and_where_both_were_made(recorded):
    moved = change_record(recorded, 1, lambda arm: arm["provenance"].update(torch="1.0", processor="Abacus"))
    broken = change_record(recorded, 2, lambda arm: None)
    arms = ["longcontext/tiny", "--arm", moved, "--arm", broken]
    code, text = lab(recorded, "verify", *arms, "--workers", "1", SKEW="0.25", BREAK="2")
    assert code == 1, text
    assert f"{moved}: differs: third (largest difference 0.25)" in text
    assert "    recorded with " in text
    assert "torch 1.0, here " in text
    assert "processor Abacus, here " in text
    assert f"{broken}: could not be computed: ValueError: as asked" in text
    assert "0 of 2 arms equal" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--arms", "0"], "--arms is 0; expected a whole number of at least 1"),
        (["--arm", "0123456789ab"], "no recorded arm 0123456789ab can be compared"),
        (["longcontext/large"], "there is no experiment 'longcontext/large'; expected one of: longcontext/tiny"),
    ],
)
def test_what_cannot_be_verified_is_refused_in_a_line(recorded, arguments, said):
    code, text = lab(recorded, "verify", *arguments)
    assert (code, len(text.splitlines())) == (2, 1), text
    assert text.startswith(f"lab: {said}")


ODD = {
    "float": [1 / 3, 0.1 + 0.2, 123456.7, 5e-324, -0.0],
    "whole": [1.0, 2.0, 3e9, 4.0, 0.0],
    "count": [2**40 + 1, 0, 1, 2, 3],
    "gap": [math.nan, 1.0, math.inf, 2.5, 3.0],
    "word": ["a", "", "1.50", "nan", "None"],
    "flag": [True, False, True, True, False],
    "work_seconds": [1.0, 2.0, 3.0, 4.0, 5.0],
}


@pytest.fixture
def kept(tmp_path):
    """A table with every kind of value, and its rows as the record holds them beside another arm's."""
    table = pd.DataFrame(ODD)
    record = Record(tmp_path)
    fields = {"experiment": "x", "version": 1, "config": {}, "status": "ok", "error": None, "facts": {}}
    fields |= {"cpu_seconds": 1.0, "provenance": {}}
    other = pd.DataFrame({"count": [7], "elsewhere": [0.5]})
    record.save("x", [Arm(digest="a", table=table, **fields), Arm(digest="b", table=other, **fields)])
    return table, verify.recorded_rows(record, "x")["a"]


def test_a_table_is_equal_to_its_own_record(kept):
    table, rows = kept
    assert verify.differences(rows, table) == {}


@pytest.mark.parametrize("name", [name for name in ODD if name != "work_seconds"])
def test_every_recorded_digit_counts(kept, name):
    table, rows = kept
    values = table[name].tolist()
    changed = {"float": 1 / 3 + 1e-6, "whole": 2.0, "count": 2**40 + 2, "gap": 0.0, "word": "b", "flag": False}[name]
    found = verify.differences(rows, table.assign(**{name: [changed, *values[1:]]}))
    assert list(found) == [name]


def test_times_do_not_count_and_lost_rows_and_columns_do(kept):
    table, rows = kept
    assert verify.differences(rows, table.assign(work_seconds=9.0)) == {}
    assert verify.differences(rows, table[:3]) == {"rows": "5 recorded, 3 computed"}
    assert list(verify.differences(rows, table.drop(columns="count"))) == ["count"]
    assert list(verify.differences(rows, table.assign(more=1))) == ["more"]


def test_a_fingerprint_names_every_bit_but_those_of_times():
    table = pd.DataFrame({"x": [1 / 3], "work_seconds": [1.0]})
    assert fingerprint(table) == fingerprint(table.assign(work_seconds=2.0))
    assert fingerprint(table) != fingerprint(table.assign(x=math.nextafter(1 / 3, 1)))
    assert fingerprint(table) != fingerprint(table.rename(columns={"x": "y"}))
