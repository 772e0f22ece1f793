"""Named streams of randomness: the seed of a run gives each purpose a generator of its own.

torch's CPU generator looks at the lower 32 bits of its seed alone. So a stream is a block of numbers below 2^32, and
no two streams can meet, whatever the seed of the run.
"""

from typing import Any

# What recorded runs drew from: a first number for each purpose. Two purposes of one number are never used by one run.
RECORDED = {
    "weights": 0,
    "training": 10_000,
    "held out": 20_000,
    "second rows": 20_000,  # of the readers: longer rows than the held-out ones
    "questions": 30_000,
    "probe": 40_000,
    "second training": 40_000,  # of the race, and of models that are taught further
    "harder questions": 50_000,
    "fine-tuning": 50_000,
    "long questions": 60_000,
    "scores": 70_000,
}
# For new experiments, in the order in which they were added: a place, once given, is kept.
STREAMS = ("rows", "held-out rows", "initial weights", "evaluation", "noise", "further rows", "calibration")
_RECORDED_SEEDS, _BLOCK = 10_000, 1 << 24


def seed_of(stream: str, seed: int) -> int:
    """The number that seeds a stream. ValueError for an unknown stream and for a seed outside of its block."""
    if stream in RECORDED:
        first, size = RECORDED[stream], _RECORDED_SEEDS
    elif stream in STREAMS:
        first, size = (STREAMS.index(stream) + 1) * _BLOCK, _BLOCK
    else:
        raise ValueError(f"there is no stream {stream!r}; expected one of {', '.join([*RECORDED, *STREAMS])}")
    if not 0 <= seed < size:
        raise ValueError(f"seed is {seed}; the stream {stream!r} takes 0 to {size - 1:,}")
    return first + seed


def generator(stream: str, seed: int) -> Any:
    """A torch generator at the beginning of a stream."""
    import torch

    return torch.Generator().manual_seed(seed_of(stream, seed))
