"""The claims of notebook 01 hold in the recorded tables, and fail where a table is made to say something else."""

import pytest
from planted import cases, check_claim, few_seeds, level, shifted, swapped

from lablib.longcontext import claims
from lablib.longcontext.experiments.harder import harder
from lablib.longcontext.experiments.placements import placements
from lablib.longcontext.experiments.race import race
from lablib.longcontext.experiments.seesaw import seesaw, tuning
from lablib.longcontext.experiments.tracking import tracking

ENDS = swapped("model.window", claims.NARROW, claims.WIDE)
RECALL = level(0.5, "exact")
CASES = {
    "seesaw": (
        seesaw,
        cases(
            claims.SEESAW,
            shifted(-0.05, "exact", "length == 64 and `model.window` == 64"),
            few_seeds,
            shifted(-0.02, "exact", "length == 1048576"),
            level(1.0, "exact", where="length == 65536 and `model.window` == 64"),
            level(3.0, "margin"),
            ENDS,
            ENDS,
            ENDS,
            shifted(0.2, "exact", "`model.plan` == 'swa swa'"),
            level(1.0, "exact", where="`data.num_pairs` == 6"),
        ),
    ),
    "race": (
        race,
        cases(
            claims.RACE,
            ENDS,
            level(1.0, "hsa_alone", where="seed == 7"),
            shifted(0.2, "far", "part == 2"),
            level(0.9, "far", where="part == 2 and seed == 0"),
        ),
    ),
    "tuning": (tuning, cases(claims.TUNING, few_seeds)),
    "harder": (
        harder,
        cases(
            claims.HARDER,
            level(1.0, "exact", where="condition == 'one distractor'"),
            level(0.8, "exact", where="condition == 'growing distractors'"),
            level(0.9, "exact", where="condition == 'no marker'"),
            few_seeds,
            shifted(0.2, "exact", "`data.haystack` == 'text'"),
        ),
    ),
    "placements": (
        placements,
        cases(
            claims.PLACEMENTS,
            level(0.9, "exact", where="`data.num_pairs` == 6"),
            level(0.9, "exact_parted", "exact_whole"),
        ),
    ),
    "chains": (tracking, cases(claims.CHAINS, RECALL, RECALL)),
}
OF_THREE_SEEDS = {"Does the ranking survive each change of the model or the rows?", "What do chains need?"}
ALL = [(made, claim, plant) for made, pairs in CASES.values() for claim, plant in pairs]
ALL += [  # a second way in which each of these would be false
    (harder, claims.HARDER[2], level(0.9, "exact", where="`data.num_pairs` == 6")),
    (seesaw, claims.SEESAW[8], level(0.1, "exact", where="`model.plan` == 'full-nope full-nope'")),
    (seesaw, claims.SEESAW[9], lambda table: table[table["model.landmark"] != "mean"]),
]


@pytest.fixture(scope="module")
def recorded():
    return {made.name: made.recorded() for made, _ in CASES.values()}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    check_claim(claim, recorded[made.name], plant, exploratory=claim.question in OF_THREE_SEEDS)
