"""AdamW decays matrices, and neither gains nor embeddings; every parameter is in one group."""

import pytest
import torch
from torch import nn

from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.surgery import freeze
from lablib.train.optim import Multipliers, OptimConfig, build_optimizer


def names_by_group(model: nn.Module) -> list[list[str]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return [
        [names[id(parameter)] for parameter in group["params"]]
        for group in build_optimizer(model, OptimConfig()).param_groups
    ]


@pytest.mark.parametrize("plan", ["swa", "full full", "swa memory swa+hsa swa"])
def test_the_groups_part_all_parameters_exactly_once(plan):
    model = LanguageModel(ModelConfig(plan=plan))
    decayed, plain = names_by_group(model)
    assert sorted(decayed + plain) == sorted(name for name, _ in model.named_parameters())


def test_matrices_decay_and_gains_embeddings_and_single_vectors_do_not():
    model = LanguageModel(ModelConfig(plan="swa memory swa+hsa"))
    decayed, plain = names_by_group(model)
    assert all(name.endswith(".weight") and model.get_parameter(name).ndim == 2 for name in decayed)
    assert {name for name in plain if not name.endswith("gain")} == {"embedding.weight", "encoder.token"}
    decay = [group["weight_decay"] for group in build_optimizer(model, OptimConfig(weight_decay=0.3)).param_groups]
    assert decay == [0.3, 0.0]


def test_a_head_tied_to_the_embedding_is_trained_once_and_does_not_decay():
    model = LanguageModel(ModelConfig(plan="swa"))
    model.head.weight = model.embedding.weight
    decayed, plain = names_by_group(model)
    assert "embedding.weight" in plain
    assert len(decayed + plain) == len(set(decayed + plain)) == len(list(model.parameters()))


def test_frozen_parameters_are_left_out():
    model = LanguageModel(ModelConfig(plan="swa"))
    freeze(model, "blocks.0.mlp", count=1)
    decayed, plain = names_by_group(model)
    assert not any("mlp." in name for name in decayed + plain)
    assert len(decayed + plain) == sum(parameter.requires_grad for parameter in model.parameters())


def test_each_group_remembers_its_peak_rate_and_the_betas_are_those_asked_for():
    optimizer = build_optimizer(LanguageModel(ModelConfig(plan="swa")), OptimConfig(lr=0.02, beta1=0.8, beta2=0.9))
    for group in optimizer.param_groups:
        assert (group["lr"], group["peak_lr"], group["betas"]) == (0.02, 0.02, (0.8, 0.9))


def test_a_step_is_adamw_by_hand():
    model = nn.Sequential(nn.Linear(3, 2, bias=False))
    weight = model[0].weight
    before, gradient = weight.detach().clone(), torch.tensor([[1.0, -2.0, 3.0], [0.5, -0.1, 4.0]])
    weight.grad = gradient.clone()
    build_optimizer(model, OptimConfig(lr=0.1, weight_decay=0.5)).step()
    # the first step of Adam moves each weight by the rate, in the direction of the sign of its gradient
    torch.testing.assert_close(weight.detach(), before * (1 - 0.1 * 0.5) - 0.1 * gradient.sign())


def test_multipliers_make_groups_of_their_own_and_all_one_makes_none():
    def narrow(name: str, parameter: nn.Parameter) -> Multipliers:
        return Multipliers(lr=0.5, weight_decay=2.0, eps=10.0) if name.startswith("head") else Multipliers()

    cfg, model = OptimConfig(lr=0.02, weight_decay=0.1), LanguageModel(ModelConfig(plan="swa"))
    plain, scaled = build_optimizer(model, cfg), build_optimizer(model, cfg, narrow)
    assert [len(group["params"]) for group in plain.param_groups] == [8, 6]
    assert sum(len(group["params"]) for group in scaled.param_groups) == 14
    (head,) = [group for group in scaled.param_groups if any(p is model.head.weight for p in group["params"])]
    assert (head["peak_lr"], head["weight_decay"], head["eps"]) == (0.01, 0.2, 1e-7)
    assert len(head["params"]) == 1
    others = [group for group in scaled.param_groups if group is not head and group["params"]]
    assert {(group["peak_lr"], group["eps"]) for group in others} == {(0.02, 1e-8)}


def test_a_multiplier_below_zero_is_refused_by_the_name_of_its_parameter():
    with pytest.raises(ValueError, match=r"embedding.weight has the multipliers .*lr=-1.* expected none below 0"):
        build_optimizer(LanguageModel(ModelConfig()), OptimConfig(), lambda name, p: Multipliers(lr=-1.0))
