"""The claims of notebook 02 hold in the recorded tables, and fail where a table is made to say something else."""

import pandas as pd
import pytest
from planted import cases, check_claim, few_seeds, level, shifted, swapped

from lablib.longcontext import curricula_claims as claims
from lablib.longcontext.experiments.finetuning import BEST, METHODS, finetuning, forgetting, forgetting_rates
from lablib.longcontext.experiments.lengths import ingredients, lengths
from lablib.longcontext.experiments.long_range import forecast, long_range
from lablib.longcontext.experiments.steered import balance, steered
from lablib.longcontext.experiments.warmup import RECIPES, aftermath, schedules, warmup

AT_ONE_RATE = "`curriculum.optim.lr` == 0.002"
LONG, SHORT = "long from the beginning", "short throughout"


def on(recipe: str) -> str:
    return f"recipe == '{recipe}'"


CASES = {
    "warm-up": cases(
        claims.WARM_UP,
        swapped("recipe", claims.NARROW, claims.SCRATCH),
        shifted(0.3, "local_loss", on(claims.WARM)),
        level(2.3, "local_loss", where=on(claims.COPY)),
        level(2.3, "local_loss"),
        shifted(-0.5, "exact", on(claims.ANEW)),
    ),
    "coverage": cases(
        claims.COVERAGE,
        level(0.5, "exact", where=on(claims.SCRATCH_LONG)),
        shifted(0.2, "local_loss", on(claims.SCRATCH_LONG)),
    ),
    "forgetting": cases(claims.FORGETTING, level(0.9, "exact")),
    "aftermath": cases(
        claims.AFTERMATH,
        level(0.9, "recall_4096"),
        level(0.9, "recall_4096", where="step < 900"),
        shifted(0.1, "local_loss", on(claims.LONG_ROWS)),
    ),
    "grid": cases(claims.GRID, level(0.7, "exact")),
    "lengths": cases(claims.LENGTHS, level(0.95, "exact", where=f"recipe == '{LONG}' and {AT_ONE_RATE}")),
    "ingredients": cases(claims.INGREDIENTS, level(0.9, "exact")),
    "fine-tuning": cases(
        claims.FINE_TUNING,
        few_seeds,
        shifted(-0.2, "recall_16384", f"{on('a third of long rows')} and step > 300"),
        level(1.0, "exact"),
        level(0.5, "accuracy"),
    ),
    "steered": cases(
        claims.STEERED,
        shifted(-0.5, "local_loss", on(claims.FOLLOWS)),
        shifted(0.1, "exact", on("monitor raises retrieval")),
    ),
    "steered lengths": cases(claims.STEERED_LENGTHS, swapped("recipe", SHORT, claims.BY_NEED)),
    "balance": cases(claims.BALANCE, level(1.0, "exact", "exact_reasoning", where=on("reasoning by need"))),
    "long inputs": cases(
        claims.LONG_INPUTS,
        level(0.9, "exact", where="length == 16777216 and haystack == 'text'"),
        level(0.8, "exact", where="length == 65536"),
        level(0.9, "exact"),
        level(5000.0, "peak_megabytes"),
        level(0.5, "pareto_miss"),
    ),
}


@pytest.fixture(scope="module")
def recorded():
    plan, steering, ways = warmup.recorded(), steered.recorded(), lengths.recorded()
    return {
        "warm-up": plan,
        "coverage": plan,
        "forgetting": forgetting.recorded(),
        "aftermath": aftermath.recorded(),
        "grid": schedules.recorded(),
        "lengths": ways,
        "ingredients": ingredients.recorded(),
        "fine-tuning": finetuning.recorded(),
        "steered": pd.concat([plan, steering], ignore_index=True),
        "steered lengths": pd.concat([ways, steering], ignore_index=True).query(AT_ONE_RATE),
        "balance": balance.recorded(),
        "long inputs": long_range.recorded(),
    }


ALL = [(name, claim, plant) for name, pairs in CASES.items() for claim, plant in pairs]
ALL += [  # a second way in which each of these would be false
    ("aftermath", claims.AFTERMATH[1], level(0.9, "recall_4096", where=f"{on(claims.COPY)} and step > 480")),
    ("steered", claims.STEERED[1], level(0.0, "faded", where="seed == 1")),
]


@pytest.mark.parametrize(("name", "claim", "plant"), ALL, ids=[claim.question for _, claim, _ in ALL])
def test_a_claim_holds_in_the_record_and_not_in_a_planted_table(recorded, name, claim, plant):
    check_claim(claim, recorded[name], plant, exploratory=name in {"grid", "ingredients"})


def test_the_names_of_the_recipes_are_those_of_the_experiment():
    names = (claims.NARROW, claims.SCRATCH, claims.WARM, claims.COPY, claims.SLOWLY, claims.ANEW)
    assert names == tuple(RECIPES)[:6]


def test_the_forecast_in_every_arm_is_the_one_recorded_before(recorded):
    arm = ["seed", "haystack", "train.steps", "more.steps", "length"]
    foretold = forecast.recorded().fillna({"more.steps": 0}).set_index(arm)["pareto_miss"]
    counted = recorded["long inputs"].fillna({"more.steps": 0}).groupby(arm)["pareto_miss"].first()
    assert (counted == foretold.reindex(counted.index)).all()


def test_each_way_to_tune_has_the_rate_with_the_lowest_loss_on_short_rows():
    table = forgetting_rates.recorded()
    near = table[(table["phase"] == "heldout") & (table["length"] == 64)]
    means = near.groupby(["recipe", "curriculum.optim.lr"])["local_loss"].mean()
    assert {name: means[name].idxmin() for name in METHODS} == BEST
