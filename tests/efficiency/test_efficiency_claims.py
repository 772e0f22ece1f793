"""The claims of notebook 05 hold in the recorded tables, and fail where a table is made to say something else."""

import pytest
from planted import cases, check_claim, level, shifted

from lablib.core.tables import read_rows
from lablib.efficiency import claims, summaries, tuning_claims
from lablib.efficiency.experiments.distillation import (
    RATES,
    TRIED,
    distillation,
    distillation_rates,
    teachers,
    temperature,
    top_k,
)
from lablib.efficiency.experiments.memory import memory
from lablib.efficiency.experiments.tuning import BEST, tuning, tuning_rates

CASES = {
    distillation: cases(
        claims.DISTILLATION,
        shifted(2.0, "excess", "name == 'KD from the language'"),
        shifted(2.0, "excess", "name == 'KD from the language' and tokens == 4000"),
        shifted(2.0, "excess", "name == 'KD from a teacher'"),
        shifted(2.0, "excess", "name == 'KD from a teacher' and tokens == 1000"),
        shifted(2.0, "excess", "name == 'KD from a teacher' and tokens == 16000"),
        shifted(-2.0, "excess", "name == 'half KD, half CE'"),
    ),
    teachers: cases(
        claims.TEACHERS,
        shifted(2.0, "excess", "name == 'fresh rows'"),
        shifted(-2.0, "excess", "name == 'fresh rows'"),
    ),
    top_k: cases(
        claims.TOP_K,
        shifted(20.0, "excess", "remainder"),
        shifted(-1.0, "excess", "top == 8"),
    ),
    memory: cases(tuning_claims.MEMORY, shifted(-1e8, "activation_bytes", "method == 'LoRA'")),
    temperature: cases(claims.TEMPERATURE, shifted(0.1, "excess", "temperature == 8")),
    tuning: cases(
        tuning_claims.TUNING,
        level(1e-3, "train.optim.lr"),
        shifted(0.2, "excess", "name == 'head' and `language.shift` == 'unigram'"),
        shifted(-0.4, "excess", "name == 'BitFit' and `language.shift` == 'transitions'"),
        shifted(0.6, "excess_before", "name == 'full' and `language.shift` == 'transitions'"),
        shifted(0.6, "excess_before", "name == 'full' and `language.shift` == 'unigram'"),
    ),
}
ALL = [(made, claim, plant) for made, pairs in CASES.items() for claim, plant in pairs]


@pytest.fixture(scope="module")
def recorded():
    return {made: made.recorded() for made in (*CASES, distillation_rates, tuning_rates)}


@pytest.mark.parametrize(("made", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, made, claim, plant):
    check_claim(claim, recorded[made], plant)


def test_each_way_to_teach_has_the_best_rate_of_its_sweep(recorded):
    rows = summaries.stopped(recorded[distillation_rates])
    rows = rows[rows["name"] != "CE"]
    best = summaries.best_rates(rows, ["name", "tokens"]).rename({summaries.BEST: "CE"})
    assert best.to_dict() == RATES
    means = (
        rows.replace({"name": {summaries.BEST: "CE"}}).groupby(["name", "tokens", "train.optim.lr"])["excess"].mean()
    )
    beside = {TRIED[0]: TRIED[1], TRIED[-1]: TRIED[-2]}  # where the best is at an end, the curve is flat
    for (name, tokens), rate in RATES.items():
        if rate in beside:
            assert means[name, tokens, beside[rate]] < 1.2 * means[name, tokens, rate], (name, tokens)


def test_each_way_to_tune_has_the_best_rate_of_its_sweep(recorded):
    best = summaries.best_rates(read_rows(recorded[tuning_rates]), ["name", "language.shift"])
    assert best.to_dict() == BEST
