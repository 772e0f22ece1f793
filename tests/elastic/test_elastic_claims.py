"""The claims of notebook 04 hold in the recorded tables, and fail where a table is made to say something else."""

import pytest
from planted import cases, check_claim, level, shifted, swapped

from lablib.elastic import claims, training_claims
from lablib.elastic.experiments.family import RATES, family, rates
from lablib.elastic.experiments.router import router
from lablib.elastic.experiments.slicing import depth, recovery, slicing
from lablib.elastic.experiments.stages import stages

S_OF_FAMILY = "name == 'family' and budget == 'S'"
L_OF_FAMILY = "name == 'family' and budget == 'L'"
CASES = {
    slicing: cases(
        claims.SLICING,
        shifted(2.0, "loss", "order == 'ranked'"),
        shifted(-2.0, "loss", "order == 'reversed'"),
        shifted(1.0, "loss", "order == 'ranked'"),
        shifted(1.0, "loss", "order == 'after the nonlinearity'"),
        shifted(1.0, "loss", "order == 'ranked'"),
        shifted(-2.0, "loss", "order == 'across groups'"),
    ),
    recovery: cases(claims.RECOVERY, shifted(-2.0, "loss S", "name == 'reversed'")),
    depth: cases(
        claims.DEPTH,
        level(0, "place", where="metric == 'nMSE' and kind == 'attention'"),
        level(5, "place", where="metric == 'KL' and kind == 'attention'"),
    ),
    family: cases(
        training_claims.FAMILIES,
        shifted(0.2, "loss", S_OF_FAMILY),
        shifted(0.2, "loss", L_OF_FAMILY),
        swapped("name", "family", "S from scratch"),
        shifted(9.0, "text", S_OF_FAMILY),
        shifted(0.2, "loss", "name == 'family, reversed order' and budget == 'S'"),
        swapped("name", "family", "family by CE"),
        shifted(0.2, "loss", "budget == 'L' and name != 'family'"),
        swapped("name", "family", "family, own teacher"),
        shifted(2.0, "loss", "budget == 'M to S'"),
    ),
    stages: cases(
        training_claims.STAGES,
        shifted(-0.1, "recall", "name == 'no second stage'"),
        shifted(0.5, "recall", "name == 'RoPE: long, uniform'"),
        swapped("name", "RoPE: short, uniform, CE", "RoPE: long, uniform, CE"),
        swapped("name", "long, more for L", "long, uniform"),
    ),
    router: cases(
        training_claims.ROUTER,
        shifted(0.3, "share", "what == 'router'"),
        shifted(0.3, "loss", "what == 'router' and name == 'homogeneous'"),
        shifted(-0.5, "recall", "name.str.contains('nMSE')"),
        shifted(-0.5, "recall", "name.str.contains('attention last')"),
        shifted(0.5, "loss", "name == 'heterogeneous'"),
        shifted(0.3, "loss", "what == 'soft masks'"),
        shifted(0.5, "loss", "name == 'straight-through'"),
    ),
}
ALL = [(made, claim, plant) for made, pairs in CASES.items() for claim, plant in pairs]


@pytest.fixture(scope="module")
def recorded():
    return {made: made.recorded() for made in (*CASES, rates)}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    check_claim(claim, recorded[made], plant)


def test_each_way_to_train_has_the_best_rate_of_its_sweep(recorded):
    losses = recorded[rates].groupby(["name", "train.optim.lr", "budget"])["loss"].mean()
    best = {
        name: losses[name].groupby("train.optim.lr").mean().idxmin() for name in ("KD", "KD, S alone", "CE", "scratch")
    }
    assert best | {"CE, L alone": losses["CE"].xs("L", level="budget").idxmin()} == RATES
    inner = sorted(set(recorded[rates]["train.optim.lr"]))[1:-1]
    assert all(rate in inner for name, rate in best.items())  # not at the edge


def test_the_arms_of_the_family_differ_in_what_their_names_say_alone(recorded):
    rows = recorded[family]
    tokens = rows.groupby("name")["train_tokens"].first()
    same = ["family", "family, random order", "family, reversed order", "family by CE", "S alone", "S from scratch"]
    assert tokens[same].nunique() == 1
    assert tokens["S alone, a third"] / tokens["family"] == pytest.approx(1 / 3, abs=0.01)
    whole = rows["parent.train.steps"].iloc[0] * rows["parent.train.batch"].iloc[0] * rows["parent.length"].iloc[0]
    assert tokens["S from scratch, parent too"] == whole + tokens["family"]
