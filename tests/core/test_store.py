"""Runs are kept whole or not at all, and come back as they were."""

import dataclasses
import json
import math
import os
import struct

import numpy as np
import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from lablib.core.store import PROJECT, Arm, Record, Store, joined, lab_home, write_atomically

ODD_FLOATS = [0.1 + 0.2, 1 / 3, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, 1e16 + 2]


def make_arm(table=None, **changes) -> Arm:
    fields = {
        "experiment": "testing/store",
        "version": 1,
        "digest": "0123456789ab",
        "config": {"seed": 3, "model.window": 8, "lengths": (64, 256), "note": None, "name": "x"},
        "status": "ok",
        "error": None,
        "cpu_seconds": 1.25,
        "provenance": {"commit": "abc"},
        "facts": {"corpus": "def"},
    }
    table = pd.DataFrame({"loss": [0.5, 0.25]}) if table is None else table
    return Arm(table=table, **{**fields, **changes})


def bits(values) -> list[bytes]:
    return [struct.pack("<d", value) for value in values]


def test_the_own_store_keeps_every_bit_of_a_float(tmp_path):
    store = Store(tmp_path)
    store.save(make_arm(pd.DataFrame({"x": ODD_FLOATS})))
    assert bits(store.load("testing/store", "0123456789ab").table["x"]) == bits(ODD_FLOATS)


def test_the_own_store_keeps_columns_of_every_plain_kind(tmp_path):
    table = pd.DataFrame(
        {
            "count": [2**53 + 1, -1, 0],
            "gap": [1.5, math.nan, 2.5],
            "phase": ["train", "test", "held-out · naïve"],
            "flag": [True, False, True],
            "maybe": [None, "a", None],
        }
    )
    Store(tmp_path).save(make_arm(table))
    assert_frame_equal(Store(tmp_path).load("testing/store", "0123456789ab").table, table, check_dtype=True)


def test_an_arm_comes_back_with_everything_that_was_said_of_it(tmp_path):
    arm = make_arm()
    Store(tmp_path).save(arm)
    back = Store(tmp_path).load(arm.experiment, arm.digest)
    assert back.header() == json.loads(json.dumps(arm.header()))
    assert back.header().keys() == arm.header().keys()


def test_a_failed_arm_comes_back_with_its_error_and_without_a_table(tmp_path):
    store = Store(tmp_path)
    store.save(dataclasses.replace(make_arm(), status="failed", error="ValueError: no", table=None))
    back = store.load("testing/store", "0123456789ab")
    assert (back.status, back.error, back.table) == ("failed", "ValueError: no", None)
    with pytest.raises(AssertionError, match="has no table: ValueError: no"):
        joined([back], "own")


def test_the_joined_table_has_the_configuration_in_every_row_before_and_after_the_store(tmp_path):
    arm = make_arm()
    Store(tmp_path).save(arm)
    fresh, stored = (joined([one], "own") for one in (arm, Store(tmp_path).load(arm.experiment, arm.digest)))
    assert_frame_equal(fresh, stored)
    assert fresh["lengths"].tolist() == ["64 256"] * 2
    assert fresh["seed"].tolist() == [3, 3]
    assert fresh["note"].isna().all()
    assert fresh["arm"].tolist() == ["0123456789ab"] * 2
    assert fresh["cpu_seconds"].tolist() == [1.25] * 2
    assert fresh["store"].tolist() == ["own"] * 2
    assert len(fresh.groupby(["lengths", "name", "model.window"])) == 1


DAMAGE = {
    "empty": b"",
    "cut in half": json.dumps({"experiment": "testing/store", "table": {"x": [1, 2]}}).encode()[:20],
    "not text": b"\xff\xfe\x00\x80",
    "a list": b"[]",
    "null": b"null",
    "fields missing": b'{"table": null}',
    "no table": b'{"experiment": "testing/store"}',
    "ragged columns": json.dumps(make_arm().header() | {"table": {"x": [1, 2], "y": [1]}}).encode(),
    "an unknown field": json.dumps(make_arm().header() | {"table": None, "mood": "good"}).encode(),
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_file_counts_as_no_arm(tmp_path, content):
    store = Store(tmp_path)
    write_atomically(store.path("testing/store", "0123456789ab"), content)
    assert store.load("testing/store", "0123456789ab") is None


def test_an_arm_that_was_never_saved_is_none(tmp_path):
    assert Store(tmp_path).load("testing/store", "0123456789ab") is None


@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "interrupted"])
def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, step, failure):
    path = tmp_path / "results.json"
    write_atomically(path, "old")

    def fail(*arguments):
        raise failure

    if step == "write":
        real = os.fdopen

        class Full:
            def __init__(self, *arguments):
                self.file = real(*arguments)

            def __enter__(self):
                self.file.write(b"ne")
                self.file.write = fail
                return self

            def write(self, content):
                fail()

            def __exit__(self, *problem):
                self.file.close()

        monkeypatch.setattr(os, "fdopen", Full)
    else:
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(type(failure)):
        write_atomically(path, "new content")
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_write_makes_its_folders_and_a_file_that_others_may_read(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    write_atomically(path, "text · ü")
    assert path.read_text(encoding="utf-8") == "text · ü"
    assert path.stat().st_mode & 0o777 == 0o644


def test_the_store_is_where_lab_home_says_and_else_in_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "elsewhere"))
    assert lab_home() == tmp_path / "elsewhere"
    monkeypatch.delenv("LAB_HOME")
    assert lab_home() == PROJECT / ".lab"


def test_the_record_gives_back_six_digits_and_all_that_was_said(tmp_path):
    table = pd.DataFrame({"phase": ["train", "test"], "loss": [1 / 3, 12345.678], "length": [64, 1_048_576]})
    arm = make_arm(table)
    Record(tmp_path).save("testing/store", [arm])
    (back,) = Record(tmp_path).load("testing/store")
    assert back.header() == json.loads(json.dumps(arm.header()))
    assert back.table["phase"].tolist() == ["train", "test"]
    assert back.table["length"].tolist() == [64, 1_048_576]
    np.testing.assert_allclose(back.table["loss"], table["loss"], rtol=5e-6)


def test_recorded_arms_keep_their_own_columns(tmp_path):
    first = make_arm(pd.DataFrame({"loss": [1.0, 2.0]}), digest="aaaaaaaaaaaa", config={"seed": 0})
    second = make_arm(pd.DataFrame({"exact": [0.5]}), digest="bbbbbbbbbbbb", config={"seed": 1})
    Record(tmp_path).save("testing/store", [first, second])
    one, two = Record(tmp_path).load("testing/store")
    assert_frame_equal(one.table, first.table)
    assert_frame_equal(two.table, second.table)


def test_a_column_without_a_number_anywhere_is_still_a_column(tmp_path):
    arm = make_arm(pd.DataFrame({"loss": [1.5, 2.5], "best": [math.nan, math.nan]}))
    Record(tmp_path).save("testing/store", [arm])
    assert_frame_equal(Record(tmp_path).load("testing/store")[0].table, arm.table)


@pytest.mark.parametrize("digest", ["012345678901", "1234e5678901", "123456789012"])
def test_a_digest_that_looks_like_a_number_is_still_a_name(tmp_path, digest):
    arm = make_arm(digest=digest)
    Record(tmp_path).save("testing/store", [arm])
    (back,) = Record(tmp_path).load("testing/store")
    assert back.digest == digest
    assert_frame_equal(back.table, arm.table)


def test_whole_numbers_survive_the_record_exactly_also_beside_gaps(tmp_path):
    arm = make_arm(pd.DataFrame({"step": [1_234_567.0, math.nan], "length": [1_048_576, 64]}))
    Record(tmp_path).save("testing/store", [arm])
    (back,) = Record(tmp_path).load("testing/store")
    assert back.table["step"].tolist()[0] == 1_234_567
    assert back.table["length"].tolist() == [1_048_576, 64]


KINDS_OF_COLUMNS = {
    "count": [3, 2**62 + 1],
    "whole": [3.0, -0.0],
    "large": [1e300, 3e9],
    "gap": [math.nan, 0.5],
    "empty": [math.nan, math.nan],
    "endless": [math.inf, -math.inf],
    "flag": [True, False],
    "number": ["007", "1e5"],
    "word": ["nan", "None"],
    "maybe": [None, "True"],
    "quoted": ['a "b", c\nd\r', "\u00fc"],
    "blank": ["", " "],
    "unsure": [None, True],
    "nothing": [None, None],
    "mixed": ["1", 1.5],
}


@pytest.mark.parametrize("lacking", [False, True], ids=["in every arm", "not in every arm"])
def test_a_table_comes_back_with_the_types_it_was_saved_with(tmp_path, lacking):
    table = pd.DataFrame(KINDS_OF_COLUMNS)
    other = pd.DataFrame({"else": [1]}) if lacking else table[::-1].reset_index(drop=True)
    arms = [make_arm(table), make_arm(other, digest="b" * 12, config={"seed": 4})]
    record = Record(tmp_path)
    record.save("testing/store", arms)
    for arm, back in zip(arms, record.load("testing/store"), strict=True):
        assert_frame_equal(back.table, arm.table, check_exact=True)
    one_by_one = pd.concat([joined([arm], "recorded") for arm in arms], ignore_index=True)
    assert_frame_equal(joined(record.load("testing/store"), "recorded"), one_by_one, check_exact=True, check_like=True)


@pytest.mark.parametrize(
    ("one", "two"),
    [([1, 2], [0.5, 1.5]), (["1", "a"], [1.5, 2.5]), ([True, None], [False, True])],
    ids=["int and float", "text and float", "unsure and bool"],
)
def test_a_column_may_have_another_type_in_another_arm(tmp_path, one, two):
    arms = [
        make_arm(pd.DataFrame({"x": x}), digest=name * 12, config={"seed": name})
        for name, x in zip("ab", (one, two), strict=True)
    ]
    Record(tmp_path).save("testing/store", arms)
    for arm, back in zip(arms, Record(tmp_path).load("testing/store"), strict=True):
        assert_frame_equal(back.table, arm.table)
    one_by_one = pd.concat([joined([arm], "recorded") for arm in arms], ignore_index=True)
    assert_frame_equal(joined(Record(tmp_path).load("testing/store"), "recorded"), one_by_one, check_like=True)


def test_a_joined_table_has_the_arms_in_the_given_order_with_the_fields_of_all():
    tables = {n: pd.DataFrame({"x": [n] * n}) for n in (3, 1)}
    configs = {3: {"seed": 3, "new": True, "top": None}, 1: {"seed": 1, "new": False, "top": 4, "late": 2}}
    found = joined([make_arm(tables[n], digest=str(n) * 12, config=configs[n]) for n in (3, 1)], "recorded")
    assert found["x"].tolist() == [3, 3, 3, 1]
    assert found["new"].tolist() == [True, True, True, False]
    assert found["top"].tolist() == [None, None, None, 4]
    assert found["late"].isna().tolist() == [True, True, True, False]
    assert found["store"].unique().tolist() == ["recorded"]
    assert joined([], "recorded").empty


def test_headers_are_read_without_the_rows(tmp_path):
    Record(tmp_path).save("testing/store", [make_arm()])
    (tmp_path / "testing" / "store.csv").unlink()
    (line,) = Record(tmp_path).headers("testing/store")
    assert line == json.loads(json.dumps(make_arm().header())) | {"columns": {"loss": "float"}}
    assert Record(tmp_path).headers("testing/none") == []


def test_a_record_without_types_is_refused(tmp_path):
    Record(tmp_path).save("testing/store", [make_arm()])
    path = tmp_path / "testing" / "store.jsonl"
    path.write_text(json.dumps(make_arm().header()) + "\n")
    with pytest.raises(ValueError, match=r"store\.jsonl has an arm without the types of its columns"):
        Record(tmp_path).load("testing/store")


def test_the_own_store_tells_finished_arms_without_reading_tables(tmp_path):
    store = Store(tmp_path)
    assert store.finished("testing/store") == set()
    store.save(make_arm())
    store.save(dataclasses.replace(make_arm(digest="b" * 12), status="failed", error="no", table=None))
    write_atomically(store.path("testing/store", "c" * 12), DAMAGE["cut in half"])
    write_atomically(store.path("testing/store", "d" * 12), DAMAGE["not text"])
    path = store.path("testing/store", "0123456789ab")
    assert json.loads(path.read_text())["table"] == {"loss": [0.5, 0.25]}
    path.write_text(path.read_text().splitlines(keepends=True)[0])  # the header alone
    assert store.finished("testing/store") == {"0123456789ab"}


def test_the_record_does_not_depend_on_the_order_in_which_arms_came(tmp_path):
    arms = [make_arm(digest=f"{seed:012x}", config={"seed": seed}) for seed in (2, 0, 1)]
    Record(tmp_path / "one").save("testing/store", arms)
    Record(tmp_path / "two").save("testing/store", reversed(arms))
    for suffix in ("csv", "jsonl"):
        one, two = (tmp_path / name / f"testing/store.{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()


def test_recording_what_is_recorded_changes_no_byte(tmp_path):
    table = pd.DataFrame({"loss": [1 / 3, 2 / 3], "step": [10, 20], "phase": ["train", "test"]})
    Record(tmp_path).save("testing/store", [make_arm(table)])
    before = {path.name: path.read_bytes() for path in (tmp_path / "testing").iterdir()}
    Record(tmp_path).save("testing/store", Record(tmp_path).load("testing/store"))
    assert {path.name: path.read_bytes() for path in (tmp_path / "testing").iterdir()} == before
    assert sorted(before) == ["store.csv", "store.jsonl"]


def test_nothing_recorded_is_an_empty_list(tmp_path):
    assert Record(tmp_path).load("testing/store") == []
