"""The chunk encoder: one chunk at a time, in both directions, with a landmark that is what it is called."""

import itertools

import pytest
import torch
from torch import Generator

from lablib.nn.hsa import ChunkEncoder
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig


def config(landmark: str, **changes) -> ModelConfig:
    return ModelConfig(plan="memory hsa", vocab=20, width=16, landmark=landmark, **changes)


def make_encoder(landmark: str) -> ChunkEncoder:
    """The encoder of a model, with the model's initial values."""
    return LanguageModel(config(landmark), Generator().manual_seed(0)).encoder


def draw_hidden(generator, length: int):
    return torch.randn(2, length, 16, generator=generator)


@pytest.mark.parametrize("landmark", ["encoded", "mean"])
def test_chunks_are_encoded_one_by_one_in_both_directions(landmark, generator):
    encoder, x = ChunkEncoder(config(landmark)), draw_hidden(generator, 32)
    other = x.clone()
    other[:, 15] += 1.0  # the last token of chunk 1
    with torch.no_grad():
        for before, after in zip(encoder(x), encoder(other), strict=True):
            changed = (before != after).flatten(3).any(-1).any(0).any(0)
            assert changed.tolist() == [False, True, False, False]
        first_key = (encoder(x).keys != encoder(other).keys)[:, :, 1, 0]
    assert first_key.any(), "the first token of a chunk must know the last"


def test_a_ragged_end_waits(generator):
    encoder, x = ChunkEncoder(config("encoded")), draw_hidden(generator, 31)
    with torch.no_grad():
        for whole, cut in zip(encoder(x[:, :24]), encoder(x), strict=True):
            assert torch.equal(whole, cut)
            assert whole.shape[2] == 3


def test_a_mean_landmark_is_the_map_of_the_mean_hidden_state(generator):
    encoder, x = ChunkEncoder(config("mean", num_kv_heads=2)), draw_hidden(generator, 24)
    with torch.no_grad():
        landmarks = encoder(x).landmarks
        for batch, head, chunk in itertools.product(range(2), range(2), range(3)):
            mean = x[batch, 8 * chunk : 8 * chunk + 8].mean(0)
            expected = encoder.landmark_norm((encoder.to_landmark.weight @ mean)[8 * head : 8 * head + 8])
            torch.testing.assert_close(landmarks[batch, head, chunk], expected)


def test_an_encoded_landmark_sees_the_order_of_its_chunk_and_a_mean_does_not(generator):
    x, order = draw_hidden(generator, 8), torch.randperm(8, generator=generator)
    with torch.no_grad():
        for landmark, sees_order in (("mean", False), ("encoded", True)):
            encoder = make_encoder(landmark)
            one, two = encoder(x).landmarks, encoder(x[:, order]).landmarks
            assert torch.allclose(one, two, atol=1e-5) != sees_order


def test_without_attention_an_encoded_landmark_knows_nothing_of_its_chunk_and_a_mean_still_does(generator):
    with torch.no_grad():
        for landmark, knows in (("mean", True), ("encoded", False)):
            encoder = make_encoder(landmark)
            encoder.mix["out"].weight.zero_()
            one, two = (encoder(draw_hidden(generator, 16)).landmarks for _ in range(2))
            assert torch.equal(one, two) != knows


def test_an_encoded_landmark_is_read_off_the_landmark_token_and_a_mean_is_not(generator):
    x = draw_hidden(generator, 16)
    with torch.no_grad():
        for landmark, uses_token in (("mean", False), ("encoded", True)):
            encoder = make_encoder(landmark)
            before = encoder(x).landmarks.clone()
            encoder.token.add_(1.0)
            assert torch.equal(before, encoder(x).landmarks) != uses_token
