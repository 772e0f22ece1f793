"""Families: rows by share, objectives, measures; gradients stay inside of a budget."""

import pytest
import torch
from small_parent import BUDGETS, SMALL, make_parent, make_tokens
from torch import Generator

from lablib.data.batch import Batch, every_next
from lablib.data.skills import SkillsConfig
from lablib.elastic.budgets import Budget
from lablib.elastic.experiments.family import FamilyConfig, build, family_arms, save_family, spent, trained
from lablib.elastic.experiments.router import RouteConfig
from lablib.elastic.experiments.slicing import CutConfig, LatencyConfig, RanksConfig
from lablib.elastic.experiments.stages import StageConfig
from lablib.elastic.family import Family, ParentConfig, held_out_texts, measured, recall_by_distance, split_rows
from lablib.elastic.router import RouterConfig
from lablib.elastic.saved import load_model
from lablib.elastic.slices import Slices
from lablib.nn.model import LanguageModel
from lablib.train.losses import cross_entropy, forward_kl


def a_batch(rows: int = 6, length: int = 9) -> Batch:
    return every_next(make_tokens(rows, length + 1))._replace(
        weight=torch.rand(rows, length, generator=Generator().manual_seed(5), dtype=torch.double)
    )


@pytest.mark.parametrize("shares", [(1.0,), (0.2, 0.3, 0.5), (0.5, 0.5, 0.0), (0.01, 0.99)])
@pytest.mark.parametrize("batch", [1, 2, 5, 32])
def test_rows_are_split_by_share_in_every_stretch(shares, batch):
    steps = [split_rows(batch, shares, step) for step in range(400)]
    assert all(sum(counts) == batch and min(counts) >= 0 for counts in steps)
    found = torch.tensor(steps, dtype=torch.double)
    assert (found.mean(0) / batch - torch.tensor(shares, dtype=torch.double)).abs().max() < 5 / (400 * batch)
    early = found[:20].sum(0) - 20 * batch * torch.tensor(shares, dtype=torch.double)
    assert early.abs().max() < 4  # as good as it can be early on, too


def test_the_objective_is_the_mean_over_all_rows_each_under_its_budget():
    model, teacher, batch = make_parent(), make_parent(), a_batch()
    with torch.no_grad():
        teacher.head.weight *= 0.5
    budgets = {"large": Budget(), "small": BUDGETS["jointly"]}
    family = Family(budgets, (0.5, 0.5), "KD", teacher)
    family.before_step(0, model)
    loss, logits = family(Slices(model), batch)
    first = split_rows(6, (0.5, 0.5), 0)[0]
    expected = 0.0
    for budget, rows in zip(budgets.values(), (slice(0, first), slice(first, 6)), strict=True):
        part = Slices(model)(batch.tokens[rows], budget)
        kl = forward_kl(teacher(batch.tokens)[rows], part, batch.weight[rows])
        expected = expected + kl * batch.weight[rows].sum() / batch.weight.sum()
    torch.testing.assert_close(loss, expected)
    assert logits.shape == (6, 9, SMALL.vocab)
    assert set(family.losses) == {"large", "small"}


def test_a_student_like_its_teacher_has_nothing_to_learn():
    model = make_parent()
    loss, _ = Family({"all": None}, (1.0,), "KD", make_parent())(Slices(model), a_batch())
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-12)
    assert all(p.grad is None or p.grad.abs().max() < 1e-10 for p in model.parameters())


def test_forward_kl_by_hand_and_where_it_does_not_count():
    teacher, student = torch.tensor([[[0.0, 1.0]], [[2.0, 0.0]]]), torch.tensor([[[1.0, 0.0]], [[float("nan"), 0.0]]])
    p = torch.tensor([0.0, 1.0]).softmax(0)
    q = torch.tensor([1.0, 0.0]).softmax(0)
    found = forward_kl(teacher, student, torch.tensor([[2.0], [0.0]]))
    torch.testing.assert_close(found, (p * (p / q).log()).sum())
    with pytest.raises(ValueError, match="the teacher has 3 tokens, the student 2"):
        forward_kl(torch.zeros(1, 1, 3), torch.zeros(1, 1, 2), torch.ones(1, 1))


def test_gradients_stay_inside_the_budget():
    model = make_parent()
    loss, _ = Family({"small": Budget(hidden=5)}, (1.0,), "CE")(Slices(model), a_batch())
    loss.backward()
    gradient = model.blocks[1].mlp.part.up.weight.grad
    assert gradient[:5].abs().min() > 0
    assert not gradient[5:].any()


def test_the_own_teacher_learns_next_tokens_and_nothing_from_the_small_ones():
    batch = a_batch()
    budgets = {"small": BUDGETS["hidden"]}
    model = make_parent()
    loss, _ = Family(budgets, (1.0,), "own teacher")(Slices(model), batch)
    whole = model(batch.tokens)
    kl = forward_kl(whole.detach(), Slices(model)(batch.tokens, budgets["small"]), batch.weight)
    torch.testing.assert_close(loss, cross_entropy(whole, batch.targets, batch.weight) + kl)
    model.zero_grad()
    cross_entropy(model(batch.tokens), batch.targets, batch.weight).backward()
    alone = model.blocks[1].mlp.part.up.weight.grad[7:].clone()  # outside of the small budget
    model.zero_grad()
    Family(budgets, (1.0,), "own teacher")(Slices(model), batch)[0].backward()
    torch.testing.assert_close(model.blocks[1].mlp.part.up.weight.grad[7:], alone)


@pytest.mark.parametrize("shares", [(0.5, 0.4), (0.5,), (1.5, -0.5), (float("nan"), 1.0)])
def test_shares_that_do_not_sum_to_one_are_refused(shares):
    with pytest.raises(ValueError, match="expected one each, that sum to 1"):
        Family({"a": None, "b": None}, shares, "CE")


def test_a_family_by_kd_needs_a_teacher():
    with pytest.raises(ValueError, match="needs a teacher; give a frozen model"):
        Family({"a": None}, (1.0,))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": ("L", "XS"), "shares": (0.5, 0.5)}, r"sizes holds \['XS'\]; expected some of L, M, S"),
        ({"shares": (0.2, 0.3, 0.4)}, "that sum to 1"),
        ({"start": "scratch"}, "trains one size by objective='CE'"),
        ({"parent__model__vocab": 64}, "model.vocab is 64, but the texts have 122 tokens"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        FamilyConfig().replace(**changes)
    if "shares" in changes and "sizes" not in changes:
        with pytest.raises(ValueError, match=words):
            StageConfig(**changes)


def test_measures_know_a_model_that_knows_everything():
    texts = held_out_texts(SkillsConfig(), 30, 8, 0)
    vocab = SkillsConfig().vocab
    knows = lambda tokens: 50.0 * torch.nn.functional.one_hot(texts.batch.targets, vocab)  # noqa: E731
    found = measured(knows, texts)
    assert found == pytest.approx({"loss": 0, "text": 0, "facts": 1, "recall": 1}, abs=1e-6)
    by_distance = recall_by_distance(lambda tokens, _: knows(tokens), texts, None)
    assert set(by_distance["recall"]) == {1.0}
    wrong = measured(lambda tokens: 50.0 * torch.nn.functional.one_hot((texts.batch.targets + 1) % vocab, vocab), texts)
    assert wrong["facts"] == wrong["recall"] == 0
    assert wrong["text"] == pytest.approx(50, abs=1e-3)


def test_every_arm_of_the_family_can_be_built_and_counted():
    for cfg in family_arms("smoke"):
        assert isinstance(build(cfg)[0].parent, LanguageModel)
        assert spent(cfg)["train_flops"] > 0
    small, all_of_it = (next(a for a in family_arms("full") if a.name == name) for name in ("S alone", "family"))
    shrunk = [cfg.replace(train__batch=3, length=16) for cfg in (small, all_of_it)]
    costs = [spent(cfg) for cfg in shrunk]
    assert costs[0]["train_flops"] < costs[1]["train_flops"] < costs[1]["masked_flops"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        *((FamilyConfig, name) for name in ("length", "keys", "rows")),
        *((StageConfig, name) for name in ("length", "keys", "long", "long_keys", "rows")),
        *((CutConfig, name) for name in ("orders", "calibration", "rows")),
        *((LatencyConfig, name) for name in ("factor", "rows", "length", "repeats")),
        (ParentConfig, "length"),
        (RouteConfig, "cells"),
        (RouterConfig, "neurons"),
    ],
)
@pytest.mark.parametrize("value", [0, -3])
def test_numbers_below_one_are_refused_by_name(kind, name, value):
    with pytest.raises(ValueError, match=f"^{name} is {value}; expected at least 1"):
        kind(**{name: value})


@pytest.mark.parametrize("name", ["width", "hidden", "mamba_heads", "heads", "depths"])
def test_options_below_one_are_refused_by_name(name):
    with pytest.raises(ValueError, match=f"^{name} is .*; expected each at least 1"):
        RouterConfig(**{name: (2, 0)})
    with pytest.raises(ValueError, match=r"sizes is .*; expected each at least 1"):
        RanksConfig(sizes=(16, 0))


def test_a_trained_family_is_saved_with_its_budgets(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    cfg = family_arms("smoke")[0]
    folder = save_family(cfg)
    model, trained_for = load_model(folder)
    assert set(trained_for) == set(cfg.sizes)
    texts = held_out_texts(cfg.parent.skills, 20, 2, 0)
    assert torch.equal(model(texts.batch.tokens), trained(cfg)[0](texts.batch.tokens))
    assert folder == save_family(cfg)
