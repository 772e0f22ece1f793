"""What the configuration alone decides is counted again; all else in the record stays, whatever happens meanwhile."""

import pandas as pd
import pytest

from lablib.app import record
from lablib.app.errors import BadInput
from lablib.app.recount import as_first_recorded, recount
from lablib.core import store
from lablib.core.config import Config
from lablib.core.experiment import Experiment
from lablib.core.store import Arm, Record

from .test_record import arm


def counting(value: float) -> Experiment:
    return Experiment(
        lambda cfg: None, "longcontext/tiny", 1, lambda scale: [Config()], counted=lambda cfg: {"n": value}
    )


def with_counts(*counts: float, **more) -> Arm:
    table = pd.DataFrame({"x": range(len(counts)), "n": pd.Series(counts, dtype=float)})
    return arm(Config().digest("longcontext/tiny", 1), **{"table": table} | more)


def test_a_recounted_arm_keeps_its_fingerprint_and_what_it_was_taken_of(tmp_path):
    kept = Record(tmp_path)
    kept.save("longcontext/tiny", [record.sealed(with_counts(3.0, 3.0))])
    for value in (4.0, 5.0, 5.0):
        recount(counting(value), kept)
        (found,) = kept.load("longcontext/tiny")
        assert found.table["n"].tolist() == [value] * 2
        assert found.facts["recounted"]["before"] == {"n": 3.0}, "of the first recording"
        assert found.facts["fingerprint"] == record.fingerprint(
            as_first_recorded(with_counts(value, value).table, found)
        )


def test_a_recount_that_is_stopped_half_way_is_made_good_by_the_next(tmp_path, monkeypatch):
    kept, write, left = Record(tmp_path), store.write_atomically, []

    def stop(path, content):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(path, content)

    for writes in range(2):
        kept.save("longcontext/tiny", [record.sealed(with_counts(3.0))])
        left[:] = [None] * writes
        with monkeypatch.context() as patch:
            patch.setattr(store, "write_atomically", stop)
            with pytest.raises(KeyboardInterrupt):
                recount(counting(4.0), kept)
        recount(counting(4.0), kept)
        (found,) = kept.load("longcontext/tiny")
        assert (found.table["n"].tolist(), found.facts["recounted"]["before"]) == ([4.0], {"n": 3.0})


@pytest.mark.parametrize(
    "left",
    [arm("b", table=pd.DataFrame({"n": [3.0]})), with_counts(3.0, version=2), with_counts(4.0), with_counts()],
    ids=["of another sweep", "of another version", "counted so already", "without a row"],
)
def test_other_arms_stay_as_they_are(tmp_path, left):
    kept = Record(tmp_path)
    kept.save("longcontext/tiny", [left])
    before = {file.name: file.read_bytes() for file in (tmp_path / "longcontext").iterdir()}
    recount(counting(4.0), kept)
    assert {file.name: file.read_bytes() for file in (tmp_path / "longcontext").iterdir()} == before


@pytest.mark.parametrize("wrong", [with_counts(3.0, 4.0), with_counts(3.0, 3.0, table=pd.DataFrame({"x": [1, 2]}))])
def test_a_column_that_the_configuration_does_not_decide_is_not_counted_again(tmp_path, wrong):
    Record(tmp_path).save("longcontext/tiny", [wrong])
    with pytest.raises(BadInput, match=r"has \d values of n; what the configuration alone decides has one"):
        recount(counting(5.0), Record(tmp_path))
