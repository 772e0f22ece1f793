"""The register of experiments, and how many workers a sweep may take."""

import functools
from dataclasses import dataclass

import pandas as pd
import pytest

import lablib.core.experiment as core
from lablib.core.config import Config
from lablib.core.cores import core_count
from lablib.core.experiment import all_experiments, experiment, worker_count


@dataclass(frozen=True, kw_only=True)
class NothingConfig(Config):
    pass


def nothing(cfg: NothingConfig) -> pd.DataFrame:
    return pd.DataFrame()


def test_two_experiments_cannot_have_one_name(monkeypatch):
    monkeypatch.setattr(core, "_registry", {})

    def arms(scale):
        return [NothingConfig.at(scale)]

    experiment("testing/twice", version=1, arms=arms)(nothing)
    experiment("testing/twice", version=1, arms=arms)(nothing)  # its module was loaded again
    elsewhere = functools.partial(arms)
    elsewhere.__module__ = "another.module"
    with pytest.raises(ValueError, match="two experiments are called 'testing/twice'"):
        experiment("testing/twice", version=1, arms=elsewhere)(nothing)


def test_the_lab_knows_its_experiments_by_name():
    found = all_experiments()
    assert "longcontext/seesaw" in found
    assert all(each.name == name for name, each in found.items())
    assert list(found) == sorted(found)


def test_the_workers_are_the_cores_unless_the_environment_says_otherwise(monkeypatch):
    assert worker_count() == core_count()
    monkeypatch.setenv("LAB_WORKERS", "3")
    assert worker_count() == 3


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5", " "])
def test_a_worker_count_that_is_none_is_refused(text, monkeypatch):
    monkeypatch.setenv("LAB_WORKERS", text)
    with pytest.raises(ValueError, match=f"LAB_WORKERS is '{text}'; expected a whole number of at least 1"):
        worker_count()
