"""A recipe is trained as it says and measured on what it was not trained on; a run that diverges is a result."""

import math

import pandas as pd
import pytest
import torch
from torch import Generator

from lablib.core.experiment import all_experiments
from lablib.longcontext import train_and_evaluate as runs
from lablib.longcontext.experiments import finetuning as tuning
from lablib.longcontext.experiments.lengths import way
from lablib.longcontext.experiments.warmup import RECIPES, SELF_COPY, WIDE, recipe
from lablib.longcontext.stages import Curriculum, Mix, Stage
from lablib.longcontext.train_and_evaluate import RecipeConfig, curriculum_at, stages_to, train_and_ask, train_answers
from lablib.train.optim import OptimConfig

RECIPE_EXPERIMENTS = ("warmup", "aftermath", "schedules", "lengths", "ingredients", "steered", "balance")


@pytest.fixture(autouse=True)
def own_store(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))


def smoke(name: str = "short and dense, then wide", **changes) -> RecipeConfig:
    return recipe("smoke", name, *RECIPES[name]).replace(**changes)


def test_shares_become_stages_without_gap_at_any_number_of_steps():
    for total in (10, 16, 97, 1200):
        stages = stages_to(total, (0.4, {"window": 8}), (0.35, {"window": 16}), (0.25, {"window": 64}))
        assert Curriculum(stages=stages).steps == total
        assert stages[0].stop == round(0.4 * total)
    with pytest.raises(ValueError, match=r"sum to 0.9, not to 1"):
        stages_to(10, (0.4, {}), (0.5, {}))


def test_the_smoke_scale_keeps_the_form_of_a_recipe():
    full, brief = (
        curriculum_at(scale, 1200, *RECIPES["short and dense, then slowly wide"]) for scale in ("full", "smoke")
    )
    assert [stage.window for stage in full.stages] == [stage.window for stage in brief.stages] == [8, 64]
    assert (full.steps, brief.steps) == (1200, 16)
    assert brief.stages[1].transition == full.stages[1].transition == "cosine"


def test_equal_recipes_have_equal_tokens():
    arms = [recipe("full", name, *parts) for name, parts in RECIPES.items()]
    assert {arm.curriculum.steps * arm.curriculum.tokens for arm in arms} == {1200 * 2048}
    assert {arm.model.window for arm in arms} == {8, 64}


def test_a_table_has_the_training_held_out_rows_and_questions_and_is_the_same_twice():
    table, again = train_and_ask(smoke()), train_and_ask(smoke(questions=4))
    pd.testing.assert_frame_equal(table, again, check_exact=True)
    assert table["phase"].value_counts().to_dict() == {"train": 8, "test": 2, "heldout": 1}
    assert table.loc[table["phase"] == "test", "length"].tolist() == [64, 256]
    held = table[table["phase"] == "heldout"].iloc[0]
    assert {"local_loss", "accuracy", "window_alone", "hsa_alone"} <= set(held.dropna().index)
    assert held["parameters"] == table["parameters"].iloc[0] > 0


def test_a_finished_training_is_not_repeated_for_other_questions(monkeypatch):
    first = train_and_ask(smoke())
    monkeypatch.setattr(runs.Rows, "__call__", lambda *call: pytest.fail("trained again"))
    other = train_and_ask(smoke(questions=6, lengths=(64,)))
    assert other["loss"].dropna().tolist() == first["loss"].dropna().tolist()


def test_a_diverged_run_is_a_row_that_says_so():
    table = train_and_ask(smoke(curriculum__optim=OptimConfig(lr=1e30, clip=1e30)))
    assert table["diverged"].tolist() == [1.0, 1.0]
    assert "exact" not in table


def test_several_top_k_are_asked_in_turn_and_the_model_keeps_its_own():
    table = train_and_ask(smoke(ask_top_k=(2, 8)))
    tests = table[table["phase"] == "test"]
    assert tests[["asked_top_k", "length"]].to_numpy().tolist() == [[2, 64], [2, 256], [8, 64], [8, 256]]


def test_chains_are_asked_where_a_stage_trains_on_them():
    mixed = curriculum_at("smoke", 16, (1.0, {"mix": Mix(retrieval=1.0, reasoning=1.0)}))
    table = train_and_ask(smoke(curriculum=mixed, model__window=8))
    assert table.loc[table["phase"] == "test", "exact_reasoning"].notna().all()
    assert "exact_reasoning" not in train_and_ask(smoke())


@pytest.mark.parametrize("steering", ["mix", "window", "bandit", "monitor holds", "monitor raises"])
def test_every_way_of_steering_runs_and_leaves_its_trace(steering):
    table = train_and_ask(smoke(steering=steering))
    trace = {"mix": "accuracy_retrieval_64", "window": "hsa_alone", "bandit": "drawn_length"}.get(steering, "faded")
    assert table.loc[table["phase"] == "train", trace].notna().any()
    cfg = smoke(steering=steering)
    acts = {"monitor holds": "hold", "monitor raises": "raise"}
    assert runs.steering(cfg, runs.Rows(cfg.data))[-1].act == acts.get(steering, "warn")


def test_questions_in_the_training_are_counted_by_stage():
    narrow = smoke("narrow throughout")
    assert train_answers(narrow) == 16 * 4 * 0.5, "16 steps of 4 rows, half of them with one needle"
    copied = recipe("smoke", "copy", (0.5, SELF_COPY), (0.5, WIDE))
    assert train_answers(copied) == 8 * 4 * 0.5
    long, short = (way("full", "x", (1.0, {"lengths": (n,)})) for n in (512, 64))
    assert train_answers(short) == 8 * train_answers(long)
    assert train_answers(long.replace(per_token=True)) == train_answers(short)
    assert math.isnan(train_answers(smoke(steering="mix")))


def test_more_to_read_costs_more_operations():
    cheap, wide = (
        train_and_ask(smoke(name))["train_flops"].iloc[0] for name in ("narrow throughout", "wide from scratch")
    )
    assert cheap < wide


def test_a_probe_that_no_logged_step_meets_is_refused():
    with pytest.raises(ValueError, match="probe_every is 30, but a row is logged every 20 steps"):
        RecipeConfig(recipe="x", probe_every=30)


def test_lengths_below_the_training_rows_are_refused():
    with pytest.raises(ValueError, match="begin below"):
        RecipeConfig(recipe="x", lengths=(8, 64))


# ---- fine-tuning


def test_fine_tuning_begins_where_the_base_ended_and_trains_it_once(monkeypatch):
    short, long = tuning.finetuning_arms("smoke")
    first = tuning.finetuning.function(short)
    trained = []
    plain = tuning.train_curriculum

    def counted(model, curriculum, *rest, **options):
        before = [p.clone() for p in model.parameters()]
        table = plain(model, curriculum, *rest, **options)
        trained.append((options.get("checkpoint"), before, [p.clone() for p in model.parameters()]))
        return table

    monkeypatch.setattr(tuning, "train_curriculum", counted)
    second = tuning.finetuning.function(long)
    (place, _, base), (_, begins, ends) = trained
    assert place.exists()
    assert all(torch.equal(a, b) for a, b in zip(base, begins, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(begins, ends, strict=True))
    before = [table[table["phase"] == "before"].iloc[0] for table in (first, second)]
    assert before[0]["recall_64"] == before[1]["recall_64"]
    assert before[0]["step"] == 0


def test_all_ways_to_fine_tune_start_from_one_of_three_bases():
    bases = {arm.base for arm in tuning.finetuning_arms("full")}
    assert bases == {recipe("full", "a base", *parts).curriculum for parts in tuning.BASES.values()}
    for name in ("short and dense, then wide", "narrow throughout"):
        assert recipe("full", name, *RECIPES[name]).curriculum in bases


# ---- rows that cannot be drawn


@pytest.mark.parametrize(
    "experiment", [e for e in all_experiments().values() if e.name.split("/")[1] in RECIPE_EXPERIMENTS]
)
def test_every_stage_of_every_arm_can_draw_its_rows(experiment):
    seen = set()
    for cfg in experiment.arms("full"):
        key = (cfg.curriculum.stages, cfg.data, cfg.per_token)
        if key in seen:
            continue
        seen.add(key)
        rows = runs.Rows(cfg.data, per_token=cfg.per_token)
        for stage in cfg.curriculum.stages:
            rows.kind_weights = list(stage.mix.weights)
            for length in stage.lengths:
                rows.lengths = (length,)
                assert rows(2048, Generator().manual_seed(0)).tokens.shape == (2048 // length, length)


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ({"lengths": (8,)}, r"stages\[0\] has rows of 8 tokens: .*do not fit"),
        ({"lengths": (100,)}, r"stages\[0\].lengths has 100, which does not divide the 2048 tokens"),
        ({"lengths": (16,), "mix": Mix(copied=1.0)}, r"rows of 16 tokens"),
    ],
)
def test_rows_that_cannot_be_drawn_are_refused_before_training(stage, words):
    with pytest.raises(ValueError, match=words):
        RecipeConfig(recipe="x", curriculum=Curriculum(stages=(Stage(start=0, stop=9, **stage),)))
