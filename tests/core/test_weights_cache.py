"""Weights are shared between arms and runs, and trained again where a fresh computation is asked for."""

from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import pytest

from lablib.core.config import Config
from lablib.core.experiment import Experiment, run_all
from lablib.core.weights_cache import training_anew, weights_place

trained: list[str] = []


def train(cfg: Config) -> pd.DataFrame:
    """Make the weights unless they are there."""
    place = weights_place("testing/training", 1, "model")
    if not place.exists():
        trained.append("trained")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("weights")
    return pd.DataFrame({"y": [1.0]})


training = Experiment(train, "testing/training", 1, lambda scale: [Config()])


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    trained.clear()


@pytest.mark.parametrize("pool", [False, True], ids=["in process", "over an executor"])
def test_fresh_trains_again_and_nothing_else_does(pool):
    with ThreadPoolExecutor(1) as executor:
        where = {"executor": executor} if pool else {"in_process": True}
        for fresh in (False, False, True, False):
            run_all(training, [Config()], fresh=fresh, **where)
        training.compute(Config())
    assert trained == ["trained"] * 2


def test_weights_made_inside_the_block_are_shared_there():
    train(Config())
    with training_anew(True):
        train(Config())
        train(Config())
    train(Config())
    assert trained == ["trained"] * 2


def test_another_version_or_another_training_has_weights_of_its_own():
    places = {weights_place(name, version, "model") for name in ("testing/a", "testing/b") for version in (1, 2)}
    assert len(places) == 4
    with pytest.raises(ValueError, match="version 0 of the training 'testing/a'; expected at least 1"):
        weights_place("testing/a", 0, "model")
