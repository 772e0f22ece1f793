"""Streams of randomness never meet, and recorded ones are what they were."""

import itertools

import pytest
import torch

from lablib.core.seeds import RECORDED, STREAMS, generator, seed_of

BLOCK = 1 << 24


def test_no_two_streams_share_a_number_whatever_the_seeds():
    spans = [(first, first + 9_999) for first in sorted(set(RECORDED.values()))]
    spans += [(seed_of(name, 0), seed_of(name, BLOCK - 1)) for name in STREAMS]
    for (_, end), (begin, _) in itertools.pairwise(sorted(spans)):
        assert end < begin
    assert max(end for _, end in spans) < 1 << 32, "torch looks at 32 bits alone"


def test_torch_looks_at_32_bits_of_a_seed_alone():
    """The reason for the blocks: a larger number would make streams meet without a word."""
    one, other = (torch.rand(4, generator=torch.Generator().manual_seed(seed)) for seed in (7, 7 + (1 << 32)))
    assert torch.equal(one, other)


@pytest.mark.parametrize(("stream", "first"), RECORDED.items(), ids=list(RECORDED))
def test_recorded_streams_are_what_they_were(stream, first):
    drawn = torch.rand(8, generator=generator(stream, 3))
    assert torch.equal(drawn, torch.rand(8, generator=torch.Generator().manual_seed(first + 3)))


def test_streams_of_one_seed_and_seeds_of_one_stream_differ():
    drawn = [torch.rand(8, generator=generator(name, seed)) for name in STREAMS for seed in (0, 1)]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(drawn, 2))


@pytest.mark.parametrize(
    ("stream", "seed", "said"),
    [
        ("trainin", 0, "there is no stream 'trainin'; expected one of weights, training"),
        ("training", 10_000, "seed is 10000; the stream 'training' takes 0 to 9,999"),
        ("training", -1, "seed is -1"),
        ("rows", BLOCK, "takes 0 to 16,777,215"),
    ],
)
def test_what_could_meet_is_refused(stream, seed, said):
    with pytest.raises(ValueError, match=said):
        seed_of(stream, seed)
