"""What a table says of itself and JSON cannot take is an error of its arm, and of no other."""

import functools
from dataclasses import dataclass

import pandas as pd
import pytest

from lablib.core.config import Config
from lablib.core.experiment import ArmsFailed, Experiment, run_all
from lablib.core.store import Store, lab_home


@dataclass(frozen=True, kw_only=True)
class FactConfig(Config):
    fact: str = "text"


def in_itself() -> list:
    ring: list = []
    ring.append(ring)
    return ring


FACTS = {
    "text": lambda: "abc",
    "a tuple": lambda: (1, (2, "b")),
    "an object": object,
    "a set": lambda: {1, 2},
    "a ring": in_itself,
    "names that are no text": lambda: {(1, 2): 3},
}
ODD = list(FACTS)[2:]


@functools.partial(Experiment, name="testing/facts", version=1, arms=lambda scale: [])
def facts(cfg: FactConfig) -> pd.DataFrame:
    table = pd.DataFrame({"square": [4.0]})
    table.attrs["fact"] = FACTS[cfg.fact]()
    return table


@pytest.mark.parametrize("name", ODD)
def test_a_fact_that_cannot_be_kept_is_an_error_of_its_arm_alone(name):
    arms = [FactConfig(fact=name), FactConfig()]
    with pytest.raises(ArmsFailed, match="1 of 2 arms of testing/facts failed, the others are kept"):
        run_all(facts, arms, in_process=True)
    failed, kept = (Store(lab_home()).load("testing/facts", facts.digest(cfg)) for cfg in arms)
    assert (failed.status, failed.table, failed.facts) == ("failed", None, {})
    assert failed.error
    assert (kept.status, kept.facts) == ("ok", {"fact": "abc"})


def test_facts_are_the_same_when_computed_and_when_read_back():
    cfg = FactConfig(fact="a tuple")
    computed = facts.compute(cfg)
    assert computed.facts == facts.stored(cfg).facts == {"fact": [1, [2, "b"]]}
