"""Token after token: read a prompt, then sample, learning from each b tokens as they become complete.

A token costs the sliding windows and the MLPs; every b tokens one inner step is paid, on the tokens that were given or
decoded. So the cost of a token does not grow with the text (arXiv 2512.23675, section 2.3).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor

from lablib.core.refusals import at_least
from lablib.nn.model import LayerStates, Logits, Tokens
from lablib.nn.sampling import drawn
from lablib.ops.grad_mode import outside_inference_mode
from lablib.ttt.e2e import Carry, TTTModel


class Progress(NamedTuple):
    """Where a text stands. The pending tokens, at most b, are those of the last chunk, not learnt from yet.

    `lower` and `now` are the caches of the lower and the upper blocks after all tokens; `carry` holds the fast weights
    and the upper caches from before the pending ones.
    """

    lower: LayerStates | None
    now: LayerStates | None
    carry: Carry
    pending: Tokens
    hidden: Float[Tensor, "batch pending width"]


@outside_inference_mode
def begin(model: TTTModel, batch: int) -> Progress:
    """Before the first token."""
    at_least(0, batch=batch)
    weight = model.base.embedding.weight
    carry = Carry({name: w.detach() for name, w in model.fast_weights(batch).items()}, None)
    nothing = torch.zeros(batch, 0, dtype=torch.long, device=weight.device)
    return Progress(None, None, carry, nothing, weight.new_zeros(batch, 0, weight.shape[1]))


@outside_inference_mode
@torch.no_grad()
def feed(model: TTTModel, progress: Progress, tokens: Tokens) -> tuple[Logits, Progress]:
    """Read further tokens: the logits of what follows each, and where the text stands then.

    A chunk is learnt from when the token behind it is known. In whatever pieces a text is fed, the logits are those of
    `TTTModel.forward` on the whole.
    """
    if not tokens.shape[1]:
        raise ValueError("no tokens were fed; expected at least one")
    if len(tokens) != len(progress.pending):
        raise ValueError(f"{len(tokens)} texts were fed to the progress of {len(progress.pending)}; expected as many")
    hidden, lower = model.read_lower(tokens, progress.lower)
    carry, now, pending, waiting, parts = progress.carry, progress.now, progress.pending, progress.hidden, []
    size, at = model.inner.chunk, 0
    while at < tokens.shape[1]:
        if pending.shape[1] == size:
            targets = torch.cat([pending[:, 1:], tokens[:, at : at + 1]], 1)
            _, carry = model.read_chunk(carry, waiting, targets, learn=True)
            now, pending, waiting = carry.states, pending[:, :0], waiting[:, :0]
        piece = slice(at, at + size - pending.shape[1])
        logits, now = model.run_upper(carry.fast, hidden[:, piece], now)
        pending, waiting = torch.cat([pending, tokens[:, piece]], 1), torch.cat([waiting, hidden[:, piece]], 1)
        parts.append(logits)
        at += logits.shape[1]
    return torch.cat(parts, 1), Progress(lower, now, carry, pending, waiting)


def sample(
    model: TTTModel, prompt: Tokens, number: int, generator: Generator, *, temperature: float = 1.0
) -> Int[Tensor, "batch new"]:
    """`number` tokens behind a prompt of at least one token, drawn at a temperature above 0."""
    read = lambda tokens, progress: feed(model, progress, tokens)  # noqa: E731
    return drawn(read, begin(model, len(prompt)), prompt, number, generator, temperature)
