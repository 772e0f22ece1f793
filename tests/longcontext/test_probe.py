"""The probe of a training step: accuracy by distance, and the gradient that reaches retrieval."""

import math

import pytest
import torch
from torch import Generator, nn

from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.longcontext.seesaw import RetrievalProbe, gradient_norm
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.evaluate import mean_where
from lablib.train.losses import cross_entropy

DATA = RetrievalConfig(num_noise=4, num_keys=4, num_values=4)
DEEP = "swa swa memory swa+hsa swa swa+hsa"


def make_model(**changes) -> LanguageModel:
    cfg = ModelConfig(**{"vocab": DATA.vocab, "width": 16, "window": 4, "chunk": 8, "top_k": 2, **changes})
    return LanguageModel(cfg, Generator().manual_seed(0)).eval()


def probe(model: LanguageModel, cfg: RetrievalConfig = DATA, seed: int = 3):
    """The row after one backward pass, the batch and the logits."""
    batch = training_batch(cfg, 16, Generator().manual_seed(seed))
    logits = model(batch.tokens)
    cross_entropy(logits, batch.targets, batch.weight).backward()
    row = {}
    RetrievalProbe().after_backward(0, model, batch, logits.detach(), row)
    return row, batch, logits.detach()


@pytest.mark.parametrize("window", [4, 8, 16])
def test_accuracy_is_split_at_the_stacked_reach(window):
    model = make_model(plan="swa memory hsa", window=window)  # with this plan a distance can equal the reach
    row, batch, logits = probe(model, DATA.replace(num_pairs=3))
    groups = {"inside": [], "outside": []}
    for b, t in (batch.evidence >= 0).nonzero().tolist():
        near = t - int(batch.evidence[b, t]) <= window - 1
        groups["inside" if near else "outside"].append(float(logits[b, t].argmax() == batch.targets[b, t]))
    for name, hits in groups.items():
        assert row[f"accuracy_{name}"] == pytest.approx(sum(hits) / len(hits)) if hits else math.nan
    every = groups["inside"] + groups["outside"]
    assert len(every) == 48
    assert row["accuracy"] == pytest.approx(sum(every) / len(every))


def test_where_there_is_no_such_answer_the_accuracy_is_not_a_number():
    assert math.isnan(probe(make_model(window=64))[0]["accuracy_outside"])
    far = DATA.replace(min_distance=32)
    assert math.isnan(probe(make_model(window=2), far)[0]["accuracy_inside"])


def squared_norm(model, wanted) -> float:
    chosen = [p.grad for name, p in model.named_parameters() if wanted(name) and p.grad is not None]
    return sum(float(gradient.square().sum()) for gradient in chosen)


@pytest.mark.parametrize("plan", ["swa memory swa+hsa", DEEP])
def test_gradient_norms_part_the_whole_gradient(plan):
    model = make_model(plan=plan)
    row, *_ = probe(model)
    whole = squared_norm(model, lambda name: True)
    assert row["hsa_grad"] ** 2 + row["other_grad"] ** 2 == pytest.approx(whole)
    retrieval = squared_norm(model, lambda name: "retriever.query" in name or "to_landmark" in name)
    assert row["retrieval_grad"] ** 2 == pytest.approx(retrieval)
    sparse = [name.removesuffix("part.retriever") for name, _ in model.named_modules() if name.endswith("retriever")]
    path = squared_norm(model, lambda name: name.startswith(("encoder.", *sparse)))
    assert row["hsa_grad"] ** 2 == pytest.approx(path)
    assert 0 < row["retrieval_grad"] < row["hsa_grad"]


def test_concatenated_fusion_passes_the_selection_exactly_nothing():
    row, *_ = probe(make_model(fusion="concat"))
    assert row["retrieval_grad"] == 0.0
    assert row["hsa_grad"] > 0


def test_without_retrieval_its_gradient_is_not_a_number():
    row, *_ = probe(make_model(plan="swa swa"))
    assert math.isnan(row["retrieval_grad"])
    assert math.isnan(row["hsa_grad"])
    assert row["other_grad"] > 0


def test_the_columns_are_the_same_for_every_model():
    columns = {"accuracy", "accuracy_inside", "accuracy_outside", "retrieval_grad", "hsa_grad", "other_grad"}
    for plan in ("swa swa", "full full", "swa memory swa+hsa"):
        assert set(probe(make_model(plan=plan))[0]) == columns


def test_the_probe_changes_no_gradient():
    model = make_model()
    row, batch, logits = probe(model)
    before = {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}
    RetrievalProbe().after_backward(0, model, batch, logits, row)
    for name, parameter in model.named_parameters():
        assert parameter.grad is before[name] is None or torch.equal(parameter.grad, before[name])


def test_norms_and_means_of_nothing_are_not_numbers():
    one, two = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(1))
    one.grad, two.grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    assert gradient_norm([one, two]) == pytest.approx(5.0)
    assert gradient_norm([one, nn.Parameter(torch.zeros(1))]) == pytest.approx(3.0)
    assert math.isnan(gradient_norm([]))
    x = torch.tensor([1.0, 2.0, 9.0])
    assert mean_where(x, torch.tensor([True, True, False])) == 1.5
    assert math.isnan(mean_where(x, torch.zeros(3, dtype=torch.bool)))
