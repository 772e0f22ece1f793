"""The direct retrieval loss is the cross-entropy of landmark scores on the chunk that holds the answer."""

import math

import pytest
import torch
from torch import Generator

from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.longcontext.retrieval_loss import retrieval_loss, with_retrieval_loss
from lablib.longcontext.seesaw import watch_retrieval
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.losses import next_token_loss

DATA = RetrievalConfig(length=32, max_distance=24)


def make_model(**changes) -> LanguageModel:
    cfg = ModelConfig(**{"vocab": DATA.vocab, "width": 8, "chunk": 4, "top_k": 8, **changes})
    return LanguageModel(cfg, Generator().manual_seed(0))


def test_by_hand():
    queries = torch.tensor([[[[2.0, 0.0]] * 12]])
    landmarks = torch.tensor([[[[1.0, 0.0], [0.0, 1.0], [9.0, 9.0]]]])
    evidence = torch.full((1, 12), -1)
    evidence[0, 8] = 2  # in chunk 0; position 8 sees chunks 0 and 1
    found = retrieval_loss(queries, landmarks, torch.arange(12), 4, evidence)
    score = 2 / math.sqrt(2)
    assert float(found) == pytest.approx(math.log(1 + math.exp(-score)))


def test_only_evidence_in_a_chunk_that_is_seen_counts():
    queries, landmarks = torch.randn(1, 1, 12, 2), torch.randn(1, 1, 3, 2)
    evidence = torch.full((1, 12), -1)
    evidence[0, 10] = 9  # its own chunk, still open
    assert float(retrieval_loss(queries, landmarks, torch.arange(12), 4, evidence)) == 0.0


def test_the_objective_adds_the_loss_of_each_layer_from_its_own_selection():
    model, batch = make_model(), training_batch(DATA, 6, Generator().manual_seed(1))
    plain, logits = next_token_loss(model, batch)
    loss, same = with_retrieval_loss(0.5)(model, batch)
    assert torch.equal(logits, same)
    with watch_retrieval(model) as seen:  # dense: the selection holds every visible chunk, so its scores are all
        model(batch.tokens)
    losses = []
    for row, at in (batch.evidence >= 0).nonzero().tolist():
        chunks, scores = seen[0].chunks[row, 0, at], seen[0].scores[row, 0, at]
        wanted = batch.evidence[row, at] // 4
        if (wanted + 1) * 4 <= at:
            losses.append(scores.logsumexp(0) - scores[chunks == wanted][0])
    added, expected = (loss - plain).detach(), 0.5 * torch.stack(losses).mean().detach()
    assert float(added) == pytest.approx(float(expected), rel=1e-4)


def test_it_trains_the_choice_where_the_scores_get_no_other_gradient():
    batch = training_batch(DATA, 6, Generator().manual_seed(1))
    for share, reaches in ((0.0, False), (0.5, True)):
        model = make_model(fusion="concat")
        with_retrieval_loss(share)(model, batch)[0].backward()
        gradient = model.upper[0].mixers[1].part.retriever.query.weight.grad
        assert (gradient is not None and bool(gradient.abs().sum() > 0)) == reaches


@pytest.mark.parametrize("share", [-1.0, math.nan, math.inf])
def test_a_share_that_is_no_weight_is_refused(share):
    with pytest.raises(ValueError, match="expected a number >= 0"):
        with_retrieval_loss(share)
