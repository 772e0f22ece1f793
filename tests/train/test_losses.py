"""The loss is the mean cross-entropy of the predictions that count."""

import math

import pytest
import torch
import torch.nn.functional as F

from lablib.data.batch import Batch
from lablib.train.losses import cross_entropy, weighted_mean, why_not_finite, with_auxiliary


def draw(generator, batch: int = 3, time: int = 7, vocab: int = 11):
    logits = torch.randn(batch, time, vocab, generator=generator, dtype=torch.float64).requires_grad_()
    return logits, torch.randint(vocab, (batch, time), generator=generator)


def test_it_is_torchs_mean_over_the_positions_that_count(generator):
    logits, targets = draw(generator)
    counted = torch.rand(3, 7, generator=generator) < 0.4
    loss = cross_entropy(logits, targets, counted.double())
    expected = F.cross_entropy(logits[counted], targets[counted])
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))


def test_a_position_that_does_not_count_gets_no_gradient(generator):
    logits, targets = draw(generator)
    weight = torch.zeros(3, 7, dtype=torch.float64)
    weight[1, 2] = 1.0
    (gradient,) = torch.autograd.grad(cross_entropy(logits, targets, weight), logits)
    touched = gradient.abs().sum(-1) > 0
    assert touched.nonzero().tolist() == [[1, 2]]


def test_weights_are_relative(generator):
    logits, targets = draw(generator)
    weight = torch.rand(3, 7, generator=generator, dtype=torch.float64)
    one, other = cross_entropy(logits, targets, weight), cross_entropy(logits, targets, 5 * weight)
    torch.testing.assert_close(one, other)
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    torch.testing.assert_close(one, (each * weight.flatten() / weight.sum()).sum())


@pytest.mark.parametrize("vocab", [2, 16, 256])
def test_uniform_logits_cost_the_logarithm_of_the_vocabulary(vocab):
    loss = cross_entropy(torch.zeros(2, 3, vocab), torch.zeros(2, 3, dtype=torch.long), torch.ones(2, 3))
    assert float(loss) == pytest.approx(math.log(vocab))


IGNORED = -100  # what torch's own cross-entropy takes for a loss of 0


@pytest.mark.parametrize("target", [IGNORED, -1, 11, 2**40])
def test_a_target_outside_the_vocabulary_is_refused_where_it_counts_and_plays_no_part_elsewhere(target, generator):
    logits, targets = draw(generator)
    weight = torch.ones(3, 7, dtype=torch.float64)
    expected = F.cross_entropy(logits[:, 1:].flatten(0, 1), targets[:, 1:].flatten())
    targets[:, 0] = target
    with pytest.raises(ValueError, match=rf"a target that counts is {target}; expected a token id from 0 to 10"):
        cross_entropy(logits, targets, weight)
    weight[:, 0] = 0.0
    loss = cross_entropy(logits, targets, weight)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))
    assert targets[0, 0] == target, "the batch is left as it was"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_logits_that_do_not_count_may_be_anything(value, generator):
    logits, targets = draw(generator)
    weight = (torch.rand(3, 7, generator=generator) < 0.4).double()
    poisoned = logits.detach().masked_fill((weight == 0)[..., None], value).requires_grad_()
    clean, loss = cross_entropy(logits, targets, weight), cross_entropy(poisoned, targets, weight)
    assert torch.equal(loss, clean)
    assert torch.equal(*(torch.autograd.grad(x, y)[0] for x, y in ((loss, poisoned), (clean, logits))))
    assert not cross_entropy(poisoned, targets, torch.ones_like(weight)).isfinite(), "where they count they are seen"
    losses = torch.where(weight == 0, value, targets.double())
    assert weighted_mean(losses, weight) == (targets * weight).sum() / weight.sum()


def test_an_ordinary_batch_costs_bit_for_bit_what_torch_says(generator):
    logits, targets = (x.float() if x.is_floating_point() else x for x in draw(generator, 4, 33, 64))
    weight = torch.rand(4, 33, generator=generator) * (torch.rand(4, 33, generator=generator) < 0.5)
    each = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    assert torch.equal(cross_entropy(logits, targets, weight), (each * weight.flatten()).sum() / weight.sum())


WEIGHTS = {
    "zero": (torch.zeros(3, 7), "no prediction of the batch counts: all its weights are 0"),
    "negative": (torch.ones(3, 7).index_fill(1, torch.tensor([2]), -0.5), "a weight of the batch is -0.5"),
    "NaN": (torch.ones(3, 7).index_fill(1, torch.tensor([2]), math.nan), "a weight of the batch is nan"),
    "infinite": (torch.ones(3, 7).index_fill(1, torch.tensor([2]), math.inf), "a weight of the batch is inf"),
    "cancelled": (torch.tensor([1.0, -1.0, 0, 0, 0, 0, 0]).expand(3, 7), r"a weight of the batch is -1\.0"),
}


@pytest.mark.parametrize(("weight", "words"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_without_a_mean_are_refused(weight, words, generator):
    logits, targets = draw(generator)
    with pytest.raises(ValueError, match=words):
        cross_entropy(logits, targets, weight.double())
    batch = Batch(targets, targets, weight, targets)
    assert words.replace("\\", "") in why_not_finite(batch, torch.full((3, 7, 11), math.nan)), "the batch comes first"


def test_a_batch_without_rows_is_refused():
    with pytest.raises(ValueError, match="no prediction of the batch counts"):
        cross_entropy(torch.zeros(0, 7, 11), torch.zeros(0, 7, dtype=torch.long), torch.zeros(0, 7))


def test_the_learning_rate_is_blamed_for_logits_alone(generator):
    logits, targets = draw(generator)
    batch = Batch(targets, targets, torch.ones(3, 7), targets)
    assert "lower the learning rate" not in why_not_finite(batch, logits)
    assert "look at what else the objective adds" in why_not_finite(batch, logits)
    logits = logits.detach().index_fill(2, torch.tensor([3]), math.nan)
    assert why_not_finite(batch, logits).endswith(
        "lower the learning rate or the clip: 21 of 231 outputs are not finite"
    )


class WithLosses(torch.nn.Module):
    """A model of one table of logits whose two layers return auxiliary losses."""

    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(5, 5))

    def run(self, tokens):
        return self.table[tokens], None, [self.table.square().sum() + 1.0, torch.tensor(2.0)]


def test_auxiliary_losses_are_added_with_their_weight(generator):
    tokens = torch.randint(5, (2, 4), generator=generator)
    batch, model = Batch(tokens, tokens, torch.ones(2, 4), tokens), WithLosses()
    for weight in (0.0, 0.5):
        loss, logits = with_auxiliary(weight)(model, batch)
        assert loss.item() == pytest.approx(math.log(5) + 3.0 * weight)
        assert logits.shape == (2, 4, 5)
    for weight in (-1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"the weight of the auxiliary losses is {weight}"):
            with_auxiliary(weight)
