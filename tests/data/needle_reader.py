"""Reads needles and chains off a row of tokens, without a look at how they were written."""

import torch
from torch import Generator

from lablib.data.retrieval import RetrievalConfig

TEXT = torch.arange(5000) * 7 % 256


def seeded(seed: int = 5) -> Generator:
    return Generator().manual_seed(seed)


def positions(tokens: torch.Tensor, token: int) -> list[int]:
    return (tokens == token).nonzero()[:, 0].tolist()


def read_needles(cfg: RetrievalConfig, tokens: torch.Tensor) -> dict[tuple[int, ...], tuple[int, int]]:
    """Key -> (position of MARK, position of the content), read off one row; keys must be distinct."""
    needles = {}
    for mark in positions(tokens, cfg.mark):
        content = mark + 1 + cfg.key_tokens
        key = tuple(tokens[mark + 1 : content].tolist())
        assert key not in needles
        needles[key] = (mark, content)
    return needles


def follow(cfg: RetrievalConfig, tokens: torch.Tensor, key: tuple[int, ...]) -> tuple[int, list[int]]:
    """From a key to a value, through the links of a chain: the position of the value, and all the marks passed."""
    needles, marks = read_needles(cfg, tokens), []
    while True:
        mark, content = needles[key]
        marks.append(mark)
        if int(tokens[content]) >= cfg.first_value:
            return content, marks
        key = (int(tokens[content]),)
