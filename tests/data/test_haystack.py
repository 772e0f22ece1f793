"""Haystacks without needles: uniform noise, its local component, and stretches of a text."""

import math

import pytest
import torch
from needle_reader import TEXT, positions, seeded

from lablib.data.retrieval import RetrievalConfig, noise, training_batch


def test_synthetic_noise_is_uniform():
    cfg = RetrievalConfig(num_noise=16)
    tokens = noise(cfg, 40, 800, seeded())
    counts = torch.bincount(tokens.flatten(), minlength=16)
    assert len(counts) == 16
    assert ((counts - 2000).abs() < 5 * math.sqrt(2000)).all()


@pytest.mark.parametrize("probability", [0.0, 0.5, 0.9])
def test_noise_repeats_the_token_at_the_lag_as_often_as_asked_and_no_other(probability):
    cfg = RetrievalConfig(copy_probability=probability, copy_lag=24)
    tokens = noise(cfg, 40, 800, seeded())
    chance = 1 / cfg.num_noise
    expected = {24: probability + (1 - probability) * chance, 48: probability**2 + (1 - probability**2) * chance}
    for lag in (1, 23, 24, 25, 48):
        same = (tokens[:, lag:] == tokens[:, :-lag]).float()
        share = expected.get(lag, chance)
        # neighbours at twice the lag share a token, so the bound is wider than a binomial one
        assert abs(float(same.mean()) - share) < 10 * math.sqrt(share * (1 - share) / same.numel()), lag


@pytest.mark.parametrize("lag", [1, 5, 24, 100])
def test_copying_with_certainty_repeats_the_first_stretch(lag):
    cfg = RetrievalConfig(copy_probability=1.0, copy_lag=lag)
    tokens = noise(cfg, 3, 60, seeded())
    assert torch.equal(tokens[:, lag:], tokens[:, :-lag] if lag < 60 else tokens[:, 60:])


def test_a_text_haystack_is_a_stretch_of_the_text():
    cfg = RetrievalConfig(haystack="text")
    text = torch.randperm(256)
    for row in noise(cfg, 20, 50, seeded(), text):
        start = positions(text, int(row[0]))[0]
        assert torch.equal(row, text[start : start + 50])
    assert torch.equal(noise(cfg, 1, 256, seeded(), text)[0], text)


@pytest.mark.parametrize("text", [None, torch.zeros(10, dtype=torch.long)], ids=["no text", "too short"])
def test_a_text_haystack_needs_a_text_that_is_long_enough(text):
    cfg = RetrievalConfig(haystack="text")
    with pytest.raises(ValueError, match="a text haystack of 64 tokens needs a text of at least that length"):
        training_batch(cfg, 2, seeded(), text)


def test_the_text_is_unchanged():
    before = TEXT.clone()
    training_batch(RetrievalConfig(haystack="text", num_pairs=6), 64, seeded(), TEXT)
    assert torch.equal(TEXT, before)
