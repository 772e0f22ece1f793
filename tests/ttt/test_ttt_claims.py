"""The claims of notebook 03 hold in the recorded tables, and fail where a table is made to say something else."""

import pytest
from planted import cases, check_claim, level, shifted, swapped

from lablib.ttt import claims, summaries
from lablib.ttt.experiments.ablations import ablations
from lablib.ttt.experiments.context import context, ladder, rates, sources
from lablib.ttt.experiments.cost import cost, memory, steps
from lablib.ttt.experiments.recall import ANYWHERE, NEAR, capacity, recall, taught
from lablib.ttt.experiments.toy import controls, on_bytes, toy

MINE = "name == 'TTT-E2E'"
FULL = swapped("name", "full attention", "TTT-E2E")
CASES = {
    toy: cases(
        claims.TOY,
        shifted(0.5, "loss", "name == 'TTT-E2E, b=16'"),
        shifted(-0.5, "loss", "mode == 'naive'"),
        shifted(-0.5, "loss", "name == 'TTT-E2E, b=16' and start == 7"),
        shifted(-0.5, "loss", "name == 'TTT-E2E, b=1' and mode == 'off'"),
    ),
    controls: cases(claims.CONTROLS, level(0.3, "trained_rate")),
    on_bytes: cases(claims.BYTES, swapped("name", "TTT-E2E, b=1", "TTT-E2E, b=16")),
    ladder: cases(
        claims.LADDER,
        shifted(0.5, "loss", "name == 'TTT-KVB'"),
        shifted(0.5, "loss", "name == 'TTT-KVB, simplified'"),
        shifted(-0.5, "loss", "name == 'TTT-KVB, simplified'"),
        shifted(0.5, "loss", "name == 'TTT-E2E, all blocks'"),
    ),
    context: cases(
        claims.CONTEXT,
        shifted(-0.1, "loss", "name == 'sliding window' and start > 1000"),
        shifted(0.1, "loss", f"{MINE} and start > 1000"),
        shifted(1.0, "loss", MINE),
        level(1.2, "loss", where="name == 'hybrid 5:1' and start > 1000"),
        shifted(0.1, "loss", f"{MINE} and start < 256"),
        shifted(-0.1, "loss", MINE),
        swapped("name", "Gated DeltaNet", "TTT-E2E"),
        swapped("name", "TTT-E2E, first order", "TTT-E2E"),
    ),
    sources: cases(
        claims.SOURCES,
        shifted(0.5, "loss", f"{MINE} and stop == 1024"),
        shifted(0.2, "loss", MINE),
        shifted(-0.1, "loss", "mode == 'naive'"),
        FULL,
    ),
    ablations: cases(claims.ABLATIONS, shifted(0.01, "loss", "name == 'chunk 8'")),
    recall: cases(
        claims.ASKED,
        level(0.3, "exact", where=f"{MINE} and nearest == 121"),
        shifted(-0.5, "other_loss", MINE),
        level(0.8, "exact", where=f"name == 'full attention' and questions == '{ANYWHERE}'"),
    ),
    taught: cases(claims.TAUGHT, FULL),
    capacity: cases(claims.CAPACITY, level(0.9, "exact", where="facts == 1")),
    cost: cases(claims.COST, FULL),
    steps: cases(claims.STEPS, shifted(0.5, "step_seconds", "order == 'exact'")),
    memory: cases(claims.MEMORY, swapped("group", 8, 1)),
}
OF_THREE_SEEDS = (controls, on_bytes, ablations, capacity)
ALL = [(made, claim, plant) for made, pairs in CASES.items() for claim, plant in pairs]
ALL += [  # a second way in which each of these would be false
    (context, claims.CONTEXT[3], level(1.29, "loss", where="name == 'hybrid 5:1' and stop == 512")),
    (context, claims.CONTEXT[5], shifted(0.006, "loss", "name == 'Mamba-2' and start > 1000")),
    (recall, claims.ASKED[1], level(2.3, "other_loss")),
]


@pytest.fixture(scope="module")
def recorded():
    return {made: made.recorded() for made in (*CASES, rates)} | {toy: summaries.at_best_rate(toy.recorded())}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    check_claim(claim, recorded[made], plant, exploratory=made in OF_THREE_SEEDS)


def test_the_nine_readers_have_one_size_and_were_trained_at_the_best_rate_of_their_sweep(recorded):
    peers = recorded[context].groupby("name")[["parameters", "train.optim.lr", "train_tokens"]].first()
    assert peers["parameters"].max() < 1.02 * peers["parameters"].min()
    swept = summaries.at_best_rate(recorded[rates]).groupby("name")["train.optim.lr"].first()
    assert all(peers.loc[name, "train.optim.lr"] == rate for name, rate in swept.items())
    most = {"full attention", "hybrid 5:1"}
    tokens = peers["train_tokens"]
    assert set(tokens[tokens == 3 * tokens["TTT-E2E"]].index) == most
    assert tokens.drop(most).nunique() == 1


def test_the_weights_that_learn_do_not_change_the_size(recorded):
    rows = recorded[capacity].query("phase == 'recall'")
    assert rows["parameters"].max() < 1.02 * rows["parameters"].min()


def test_the_kinds_of_questions_are_those_of_the_experiment(recorded):
    assert set(recorded[recall]["questions"]) == {NEAR, ANYWHERE} == {"near questions", "questions anywhere"}
