"""Experiments on embeddings that may be cut: what the arms share, what their tables say, what they cost."""

import pytest
import torch

from lablib.data.vectors import ViewsConfig
from lablib.elastic.experiments import matryoshka
from lablib.elastic.experiments.matryoshka import EmbedConfig, Embedder, Search, classes, retrieval, spent, task_of

SMOKE = {arm.name: arm for arm in classes.arms("smoke")}
PAIRS = {arm.name: arm for arm in retrieval.arms("smoke")}


def scan(table, how="cut"):
    return table[(table["phase"] == "scan") & (table["how"] == how)].set_index("dims")


@pytest.mark.parametrize(("experiment", "arms"), [(classes, SMOKE), (retrieval, PAIRS)])
def test_whole_embeddings_are_the_same_cut_after_pca_and_normalised_first(experiment, arms):
    table = experiment(arms["MRL"])
    whole = scan(table).loc[64]
    assert whole["right"] == whole["right_wrong_order"] == scan(table, "PCA").loc[64, "right"]
    assert whole["share"] == 1
    assert scan(table).loc[8, "share"] == 1 / 8


def test_each_prefix_of_independent_models_is_a_model_of_that_width():
    cfg = SMOKE["independent"]
    assert [each.dims for each in cfg.models()] == [(2,), (4,), (8,), (16,), (32,)]
    alone = cfg.replace(prefixes__width=4, prefixes__dims=(4,), apart=False, read=(4,))
    assert scan(classes(cfg)).loc[4, "right"] == scan(classes(alone)).loc[4, "right"]
    assert spent(cfg)["parameters"] == sum(
        spent(alone.replace(prefixes__width=m, prefixes__dims=(m,), read=(m,)))["parameters"] for m in (2, 4, 8, 16, 32)
    )


def test_heads_of_their_own_cost_what_they_hold_and_one_head_only_its_columns():
    plain, nested, tied = (spent(SMOKE[name])["parameters"] for name in ("plain", "MRL", "MRL-E"))
    assert plain == tied
    assert nested - plain == 256 * (2 + 4 + 8 + 16 + 32)
    assert spent(SMOKE["MRL"])["train_flops"] > spent(SMOKE["MRL-E"])["train_flops"] * 0.99


def test_queries_and_documents_have_encoders_of_their_own_and_classes_share_one():
    pair, one = Embedder(PAIRS["plain"], PAIRS["plain"].prefixes), Embedder(SMOKE["plain"], SMOKE["plain"].prefixes)
    assert one.query is one.document
    assert not torch.equal(pair.query[0].weight, pair.document[0].weight)


def test_a_choice_rests_on_other_data_than_what_is_reported():
    for experiment in (classes, retrieval):
        arms = experiment.arms("full")
        tuned = [arm for arm in arms if arm.first_seed]
        assert min(arm.first_seed for arm in tuned) > max(arm.seed for arm in arms)
        assert not any(arm.staged for arm in tuned)
    one, other = (task_of(SMOKE["MRL"].replace(first_seed=first)).means for first in (0, 100))
    assert not torch.equal(one, other)


def test_every_learnt_way_is_tuned_at_the_same_rates():
    for experiment, rates in ((classes, matryoshka.CLASS_RATES), (retrieval, matryoshka.PAIR_RATES)):
        tried = {}
        for arm in experiment.arms("full"):
            if arm.first_seed and not arm.prefixes.weights:
                tried.setdefault(arm.name, set()).add(arm.train.optim.lr)
        assert set(tried) >= {"plain", "MRL", "independent"}
        assert all(each == set(rates) for each in tried.values())


def test_right_answers_are_shares_and_groups_hold_several_classes():
    search = Search(torch.zeros(4, 1), torch.zeros(4, 1), asked=torch.tensor([0, 1, 2, 5]), known=torch.arange(4))
    assert search.right(torch.tensor([0, 0, 2, 4])) == 0.5
    assert search.right(torch.tensor([0, 0, 2, 4]), members=2) == 1.0
    assert search.right(torch.tensor([0, 0, 0, 0]), members=2) == 0.5


def test_settings_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"temperature is 0.0; expected more than 0"):
        EmbedConfig(task=ViewsConfig(), temperature=0.0)
    with pytest.raises(ValueError, match="queries is 20; expected 1 to documents=10"):
        EmbedConfig(queries=20, documents=10)
    with pytest.raises(ValueError, match=r"read holds \[128\]; expected 1 to width=64"):
        EmbedConfig(read=(64, 128))
