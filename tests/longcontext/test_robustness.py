"""What is said of the race, the harder haystacks and the tuning, on tables small enough to count by hand."""

import math

import pandas as pd
import pytest

from lablib.core.budget import budget
from lablib.longcontext import robustness
from lablib.longcontext.experiments.harder import HarderConfig, harder_arms
from lablib.longcontext.experiments.race import RaceConfig
from lablib.longcontext.experiments.seesaw import SeesawConfig
from lablib.longcontext.experiments.tracking import tracking_arms
from lablib.longcontext.figures.seesaw import CONDITIONS

NAN = math.nan


def joined(cfg, rows: list[dict]) -> pd.DataFrame:
    flat = {k: " ".join(map(str, v)) if isinstance(v, tuple) else v for k, v in cfg.flat().items()}
    return pd.DataFrame(rows).assign(**flat, arm=cfg.digest(), store="own")


def run(window: int, seed: int, accuracies: list[float], answers: dict[int, tuple], more_window: int | None = None):
    """An arm of the race: a row every 10 steps, the first half of them part 1; `answers` by step."""
    rows = []
    for i, accuracy in enumerate(accuracies):
        whole, windows, hsa, far = answers.get(10 * (i + 1), (NAN,) * 4)
        row = {"step": 10 * (i + 1), "part": 1 if i < len(accuracies) / 2 else 2, "accuracy": accuracy, "hsa_grad": 1.0}
        rows.append(row | {"whole": whole, "window_alone": windows, "hsa_alone": hsa, "far": far})
    return joined(RaceConfig(seed=seed, more_window=more_window).replace(model__window=window), rows)


def test_a_group_is_a_window_and_its_cut():
    table = pd.concat([run(8, 0, [1.0], {}), run(64, 0, [1.0], {}), run(64, 0, [1.0], {}, more_window=8)])
    assert list(robustness.with_group(table)["group"]) == ["window 8", "window 64", "window 64, then 8"]


@pytest.mark.parametrize(
    ("whole", "windows", "hsa", "expected"),
    [
        (1.0, 0.2, 1.0, "HSA"),
        (1.0, 0.9, 0.3, "windows"),
        (1.0, 0.9, 0.9, "either"),
        (0.95, 0.6, 0.6, "only both together"),
        (0.4, 0.3, 0.2, "none"),
    ],
)
def test_a_circuit_is_named_by_what_answers_alone(whole, windows, hsa, expected):
    found = robustness.circuits(run(64, 0, [1.0] * 4, {10: (0.1, 0.1, 0.1, 0.1), 20: (whole, windows, hsa, 0.5)}))
    assert found["circuit"].tolist() == [expected]
    assert found["step"].tolist() == [20]


def test_the_last_answers_of_each_part_count():
    answers = {10: (1.0, 0.0, 1.0, 0.2), 20: (1.0, 0.0, 1.0, 0.3), 40: (1.0, 1.0, 0.0, 0.7)}
    table = pd.concat([run(64, seed, [1.0] * 4, answers) for seed in range(3)])
    shares = robustness.circuit_shares(table).set_index("part")
    assert shares.loc[1, "HSA"] == shares.loc[2, "windows"] == 3
    assert shares.loc[1, "windows"] == 0
    assert shares["far"].tolist() == pytest.approx([0.3, 0.7])
    assert robustness.gained(table, "window 64").estimate == pytest.approx(0.4)


def test_the_criterion_needs_several_batches_in_a_row():
    early = [0.5, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 0.0]
    table = pd.concat([run(8, 0, early, {}), run(64, 0, [0.9] * 8, {})])
    found = robustness.steps_to_criterion(table, running=3).set_index("group")
    assert found.loc["window 8", "steps"] == 40
    assert found.loc["window 8", ["hsa_grad_until", "hsa_grad_after"]].tolist() == [4.0, 4.0]
    assert math.isnan(found.loc["window 64", "steps"])
    assert found.loc["window 64", "hsa_grad_until"] == 0


def test_both_ends_are_paired_by_seed_and_incomplete_pairs_are_left_out():
    rows = [
        {"kind": "a", "seed": seed, "model.window": window, "exact": value}
        for window, values in ((8, [1.0, 0.8, 0.9, 0.9, 0.9, 0.1]), (64, [0.1, 0.4, 0.2, 0.3, 0.25]))
        for seed, value in enumerate(values)
    ]
    found = robustness.both_ends(pd.DataFrame(rows), ["kind"]).iloc[0]
    assert found["seeds"] == 5
    assert found["window 8"] == pytest.approx(0.9)
    assert found["wide less narrow"] == pytest.approx(-0.65)
    assert found["low"] < -0.65 < found["high"] < 0


def test_the_rows_of_the_training_are_named():
    arms = {tuple(sorted(cfg.data.flat().items())): cfg for cfg in harder_arms("full")}
    table = pd.concat([joined(cfg, [{"length": 64}]) for cfg in arms.values()], ignore_index=True)
    assert sorted(robustness.with_training(table)["trained_on"]) == sorted(robustness.TRAINED_ON)
    other = joined(HarderConfig().replace(data__num_pairs=3), [{"length": 64}])
    assert robustness.with_training(other)["trained_on"].tolist() == ["other rows"]


def test_a_setting_shows_the_worst_in_domain_accuracy_beside_the_ends():
    arms = []
    for window, exact in ((8, 1.0), (64, 0.25)):
        for seed, accuracy in enumerate([1.0, 0.7]):
            cfg = SeesawConfig(seed=seed).replace(model__window=window)
            rows = [{"phase": "heldout", "length": 64, "accuracy": accuracy}]
            arms.append(joined(cfg, [*rows, {"phase": "test", "length": 1024, "exact": exact}]))
    found = robustness.tuned_ends(pd.concat(arms), 1024)
    assert found["wide less narrow"].tolist() == [-0.75]
    assert found["in-domain, lowest"].tolist() == [0.7]
    assert found["train.optim.lr"].tolist() == [SeesawConfig().train.optim.lr]


def test_a_chain_model_is_named_by_its_groups_and_by_what_it_lacks():
    arms = {cfg.replace(seed=0): cfg for cfg in tracking_arms("full")}
    rows = [{"phase": "test", "length": 64, "exact": 0.5, "lured": 0.25}]
    table = pd.concat([joined(cfg, rows) for cfg in arms.values()], ignore_index=True)
    found = robustness.chain_recall(table, 64)
    assert found["model"].tolist() == [
        "one group",
        "two groups",
        "two groups, window 64",
        "two groups, no restated rows",
        "two groups, reads start ordinary",
    ]
    assert set(found["exact"]) == {0.5}
    assert set(found["follow"]) == {"0 of 1"}
    assert robustness.chain_recall(table.assign(exact=0.8), 64)["follow"].tolist() == ["1 of 1"] * 5
    assert set(found["other value"]) == {0.25}


def test_the_budget_counts_each_arm_once():
    arms = [joined(HarderConfig(seed=seed), [{"length": 64}, {"length": 256}]) for seed in range(3)]
    table = pd.concat(arms).assign(parameters=10, train_tokens=20, train_flops=3e9, cpu_seconds=30.0)
    found = budget({"harder": table, "nothing": pd.DataFrame()}).iloc[0]
    assert found["arms"] == 3
    assert found["training GFLOP (most)"] == 3.0
    assert found["CPU-min"] == 1.5


def test_the_figure_knows_every_condition_that_is_asked():
    asked = {name for cfg in harder_arms("full") for name in cfg.conditions(64)}
    assert asked == set(CONDITIONS)
