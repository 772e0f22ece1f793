"""The claims of notebook 04 hold in the recorded tables, and fail where a table is made to say something else."""

import pytest
from planted import cases, level, shifted

from lablib.core.claims import NOT_SHOWN
from lablib.elastic import claims
from lablib.elastic.experiments.family import RATES, rates
from lablib.elastic.experiments.slicing import depth, slicing

CASES = {
    slicing: cases(
        claims.SLICING,
        shifted(1.0, "loss", "order == 'ranked'"),
        shifted(1.0, "loss", "order == 'after the nonlinearity'"),
        shifted(2.0, "loss", "order == 'ranked'"),
        shifted(-2.0, "loss", "order == 'reversed'"),
        shifted(-2.0, "loss", "order == 'across groups'"),
    ),
    depth: cases(
        claims.DEPTH,
        level(0, "place", where="metric == 'nMSE' and kind == 'attention'"),
        level(5, "place", where="metric == 'KL' and kind == 'attention'"),
    ),
}
ALL = [(made, claim, plant) for made, pairs in CASES.items() for claim, plant in pairs]


@pytest.fixture(scope="module")
def recorded():
    return {made: made.recorded() for made in (*CASES, rates)}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    verdict = claim(recorded[made])
    assert verdict.holds, verdict
    assert "exploratory" not in verdict.caveat
    planted = claim(plant(recorded[made]))
    assert planted.verdict == NOT_SHOWN, planted


def test_each_way_to_train_has_the_best_rate_of_its_sweep(recorded):
    losses = recorded[rates].groupby(["name", "train.optim.lr", "budget"])["loss"].mean()
    best = {
        name: losses[name].groupby("train.optim.lr").mean().idxmin() for name in ("KD", "KD, S alone", "CE", "scratch")
    }
    assert best | {"CE, L alone": losses["CE"].xs("L", level="budget").idxmin()} == RATES
    inner = sorted(set(recorded[rates]["train.optim.lr"]))[1:-1]
    assert all(rate in inner for name, rate in best.items())  # not at the edge
