"""The loss is the mean cross-entropy of the predictions that count."""

import math

import pytest
import torch
import torch.nn.functional as F

from lablib.data.batch import Batch
from lablib.train.losses import cross_entropy, with_auxiliary


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
    with pytest.raises(ValueError, match="the weight of the auxiliary losses is -1"):
        with_auxiliary(-1.0)
