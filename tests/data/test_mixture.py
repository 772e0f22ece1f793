"""Mixtures draw rows by weight, weights may be changed by hand, and text rows are stretches of the text."""

import functools
import math

import pytest
import torch
from torch import Generator

from lablib.data.batch import Batch
from lablib.data.mixture import Mixture, text_batch


def constant(value: int, batch: int, generator: Generator) -> Batch:
    """Rows of one token each, so that a row tells its source; drawing leaves a trace in the generator."""
    torch.rand(1, generator=generator)
    tokens = torch.full((batch, 4), value)
    return Batch(tokens, tokens + 100, torch.full((batch, 4), float(value)), tokens - 1)


def mixture(*weights: float) -> Mixture:
    return Mixture([functools.partial(constant, value) for value in range(len(weights))], weights)


def shares(mixed: Mixture, generator, batches: int = 60, batch: int = 50) -> torch.Tensor:
    rows = torch.cat([mixed(batch, generator).tokens[:, 0] for _ in range(batches)])
    return torch.bincount(rows, minlength=len(mixed.sources)) / len(rows)


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.9, 0.1), (2.0, 5.0, 3.0), (1.0, 0.0), (0.0, 0.0, 3.0)], ids=str)
def test_rows_come_by_weight_within_a_binomial_bound(weights, generator):
    found, rows = shares(mixture(*weights), generator), 3000
    for share, weight in zip(found.tolist(), weights, strict=True):
        expected = weight / sum(weights)
        assert abs(share - expected) <= 5 * math.sqrt(expected * (1 - expected) / rows)


def test_weights_changed_by_hand_take_effect_at_the_next_batch(generator):
    mixed = mixture(1.0, 0.0)
    assert shares(mixed, generator).tolist() == [1, 0]
    mixed.weights = [0.0, 1.0]
    assert shares(mixed, generator).tolist() == [0, 1]
    mixed.weights[0] = 1.0
    assert abs(float(shares(mixed, generator)[0]) - 0.5) < 5 * math.sqrt(0.25 / 3000)


def test_whole_numbers_are_weights_too(generator):
    mixed = mixture(1.0, 1.0)
    mixed.weights = [0, 1]
    assert shares(mixed, generator).tolist() == [0, 1]


def test_a_row_stays_whole(generator):
    batch = mixture(1.0, 1.0, 1.0)(64, generator)
    source = batch.tokens[:, :1]
    assert torch.equal(batch.tokens, source.expand(-1, 4))
    assert torch.equal(batch.targets, batch.tokens + 100)
    assert torch.equal(batch.weight, batch.tokens.float())
    assert torch.equal(batch.evidence, batch.tokens - 1)


def test_rows_are_shuffled(generator):
    rows = mixture(1.0, 1.0)(64, generator).tokens[:, 0]
    assert not torch.equal(rows, rows.sort().values)
    first = torch.stack([mixture(1.0, 1.0)(8, generator).tokens[0, 0] for _ in range(300)]).float().mean()
    assert abs(float(first) - 0.5) < 5 * math.sqrt(0.25 / 300)


def test_the_same_generator_state_gives_the_same_batch():
    one, two = (mixture(1.0, 2.0, 3.0)(32, Generator().manual_seed(8)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(one, two, strict=True))


@pytest.mark.parametrize("weights", [(1.0,), (1.0, -0.5), (0.0, 0.0), (), (1.0, 1.0, 1.0)], ids=str)
def test_weights_that_are_no_weights_are_refused(weights):
    sources = [functools.partial(constant, value) for value in range(2)]
    with pytest.raises(ValueError, match=r"2 sources with weights .*; expected one weight >= 0 each, not all 0"):
        Mixture(sources, weights)


def test_the_callers_weights_are_not_changed():
    weights = [1.0, 1.0]
    mixed = Mixture([functools.partial(constant, value) for value in range(2)], weights)
    mixed.weights[0] = 5.0
    assert weights == [1.0, 1.0]


def test_text_rows_are_stretches_of_the_text_and_every_next_token_counts(generator):
    text = torch.randperm(300)
    batch = text_batch(text, 20, 200, generator)
    for tokens, targets in zip(batch.tokens, batch.targets, strict=True):
        start = int((text == tokens[0]).nonzero())
        assert torch.equal(tokens, text[start : start + 20])
        assert torch.equal(targets, text[start + 1 : start + 21])
    assert (batch.weight == 1).all()
    assert (batch.evidence == -1).all()


def test_text_rows_reach_both_ends_of_the_text(generator):
    text = torch.arange(12)
    batch = text_batch(text, 8, 200, generator)
    assert set(batch.tokens[:, 0].tolist()) == {0, 1, 2, 3}
    assert int(batch.targets.max()) == 11


@pytest.mark.parametrize("length", [12, 13, 50])
def test_a_text_shorter_than_a_row_and_its_last_target_is_refused_clearly(length, generator):
    with pytest.raises(ValueError, match=rf"{length}"):
        text_batch(torch.arange(12), length, 4, generator)
