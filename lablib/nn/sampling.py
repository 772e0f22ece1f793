"""A model writes: tokens behind a prompt, drawn one by one from what it predicts."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Int
from torch import Generator

from lablib.core.refusals import at_least
from lablib.nn.model import LanguageModel, Logits, Tokens
from lablib.ops.precision import wide

New = Int[torch.Tensor, "batch new"]


def drawn(
    read: Callable[[Tokens, Any], tuple[Logits, Any]], state: Any, prompt: Tokens, number: int,
    generator: Generator, temperature: float,
) -> New:  # fmt: skip
    """`number` tokens behind the prompt; `read` gives the logits of further tokens and the state behind them.

    ValueError for a prompt without a token and for a temperature that is not above 0.
    """
    if prompt.shape[1] < 1 or not temperature > 0:
        raise ValueError(f"prompt has {prompt.shape[1]} tokens, temperature is {temperature}; expected >= 1 and > 0")
    at_least(0, number=number)
    logits, state = read(prompt, state)
    found = []
    for i in range(number):
        found.append(torch.multinomial((wide(logits[:, -1]) / temperature).softmax(-1), 1, generator=generator))
        if i + 1 < number:
            logits, state = read(found[-1], state)
    return torch.cat(found, 1) if found else prompt[:, :0]


@torch.no_grad()
def write(model: LanguageModel, prompt: Tokens, number: int, generator: Generator, *, temperature: float = 1.0) -> New:
    """`number` tokens that the model writes behind a prompt of at least one token."""
    return drawn(model.read, None, prompt, number, generator, temperature)
