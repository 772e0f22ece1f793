"""TTT-E2E: a model that goes on learning while it reads (arXiv 2512.23675, sections 2.2 and 2.3).

    W_0        the initial fast weights, trained by the outer loop as all other weights are
    chunk i    b tokens, scored with W_{i-1}; then W_i = W_{i-1} - rate * clip(grad of the mean loss of chunk i)

Scored first, learnt from afterwards: the loss of the text is honest, and it is also the outer loss. The blocks below
the lowest fast weight are run once over the whole text, those above chunk by chunk.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from lablib.core.config import Config
from lablib.core.refusals import known_ids
from lablib.data.batch import Batch
from lablib.nn.model import Hidden, LanguageModel, LayerStates, Logits, Tokens, Upper, run_blocks
from lablib.nn.plan import ModelConfig
from lablib.nn.surgery import select
from lablib.ops import backend
from lablib.ops.fast_weights import Fast, Order, inner_step, per_sequence
from lablib.ops.grad_mode import outside_inference_mode, refuse_inference_weights
from lablib.train.losses import in_vocabulary, weighted_mean
from lablib.ttt.checkpointing import recomputed
from lablib.ttt.second_order_check import (
    call_with,
    check_own_weights,
    check_second_derivative,
    places_of,
    refuse_compiled,
)

LOG_RATE = "log_rate"


@dataclass(frozen=True, kw_only=True)
class InnerConfig(Config):
    """The inner loop. `fast` selects modules of the model by a glob, `count` says how many there must be.

    chunk    b: tokens between two steps              rate     of the steps, as the training begins (0: the base model)
    learned  the outer loop also trains the rate      clip     of the norm of a sequence's whole gradient (inf: none)
    order    what the outer gradient sees: "exact", or "first" (FOMAML)
    ascent   up the loss instead of down: a control   group    chunks to a checkpoint through time; 0: none
    """

    fast: str = "blocks.*.prime.part"
    count: int = 1
    chunk: int = 16
    rate: float = 0.3
    learned: bool = True
    clip: float = 1.0
    order: Literal["exact", "first"] = "exact"
    ascent: bool = False
    group: int = 0

    limits: ClassVar = {"at least 0": "rate group", "at least 1": "count chunk", "more than 0": "clip"}
    endless: ClassVar = ("clip",)


class Reading(NamedTuple):
    """Nats at every position, scored before the position was learnt from, and the logits they are of."""

    losses: Float[Tensor, "batch time"]
    logits: Logits


def joined(parts: list[Reading]) -> Reading:
    """One reading of consecutive pieces."""
    return Reading(*(torch.cat(columns, 1) for columns in zip(*parts, strict=True)))


class Carry(NamedTuple):
    """What goes from chunk to chunk: the fast weights of each sequence, and the caches of the upper blocks."""

    fast: Fast
    states: LayerStates | None


class TTTModel(nn.Module):
    """A model with an inner loop. Raises ValueError for an inner loop that the model cannot carry."""

    @outside_inference_mode
    def __init__(self, model: LanguageModel, inner: InnerConfig):
        super().__init__()
        self.base, self.inner = model, inner
        for name, part in select(model, inner.fast, count=inner.count).items():
            if not all(parameter.requires_grad for parameter in part.parameters()):
                raise ValueError(f"{name} is frozen; the outer loop must train what the inner loop begins with")
        _check_plan(model.cfg, inner.chunk)
        self.log_rate = nn.Parameter(torch.zeros(()), requires_grad=inner.learned)
        self.rate_factor = 1.0  # a warm-up of the inner rate may lower it
        refuse_compiled(model)
        self._checked: list[nn.Module] = []
        self.look_up()

    @property
    def upper(self) -> Upper:
        """The blocks from the lowest fast weight on, with the output, as they stand in the model now."""
        return self.base.upper_from(self.first)

    def look_up(self) -> None:
        """Find the fast weights. Where a module above them is a new one, check again that an inner loop can pass it."""
        chosen = select(self.base, self.inner.fast, count=self.inner.count)
        self.first, self.fast_names = _fast_parameters(self.base, chosen)
        refuse_compiled(upper := self.upper)
        refuse_inference_weights(self)
        parts = [module for part in (*upper.blocks, upper.norm, upper.head) for module in part.modules()]
        if len(parts) == len(self._checked) and all(a is b for a, b in zip(parts, self._checked, strict=True)):
            return
        check_own_weights(upper, self.fast_names, self.base.context())
        if self.inner.order == "exact":
            check_second_derivative(upper, self.fast_names, self.base.context())
        self._checked, self._places = parts, places_of(upper)

    def fast_weights(self, batch: int) -> Fast:
        """W_0 for each sequence of a batch."""
        self.look_up()
        upper = self.upper
        return per_sequence({name: upper.get_parameter(name) for name in self.fast_names}, batch)

    @property
    def num_fast(self) -> int:
        """How many weights learn while reading."""
        return sum(weight[0].numel() for weight in self.fast_weights(1).values())

    def rate(self, log_rate: Float[Tensor, ""] | None = None) -> Float[Tensor, ""]:
        """The inner rate, with the sign of the step."""
        log_rate = self.log_rate if log_rate is None else log_rate
        return (-1 if self.inner.ascent else 1) * self.inner.rate * self.rate_factor * log_rate.exp()

    def forward(self, tokens: Tokens) -> Logits:
        """Logits with the inner loop at work; the text itself says what follows each token."""
        targets = F.pad(tokens[:, 1:], (0, 1))  # what follows the last token is never learnt from
        return self.read(tokens, targets).logits

    @outside_inference_mode
    def read(self, tokens: Tokens, targets: Tokens) -> Reading:
        """Score a text chunk by chunk, learning from each chunk before the next. A last chunk may be shorter.

        With gradients on, the whole is differentiable, as `inner.order` says; without, no graph outlives a chunk.
        """
        if not tokens.shape[1]:
            raise ValueError("the text has no tokens; expected at least one")
        in_vocabulary(targets, self.base.cfg.vocab)  # each is learnt from, whatever its weight in the outer loss
        carry, parts = Carry(self.fast_weights(len(tokens)), None), []
        hidden, _ = self.read_lower(tokens)
        if not (self.inner.group and torch.is_grad_enabled()):
            return self.read_chunks(carry, hidden, targets, False)[0]
        weights = {**dict(self.upper.named_parameters()), LOG_RATE: self.log_rate}
        for start in range(0, tokens.shape[1], size := self.inner.chunk * self.inner.group):
            piece, more = slice(start, start + size), start + size < tokens.shape[1]
            part, carry = recomputed(self.read_chunks, carry, hidden[:, piece], targets[:, piece], more, weights)
            parts.append(part)
        return joined(parts)

    def read_lower(self, tokens: Tokens, states: LayerStates | None = None) -> tuple[Hidden, LayerStates]:
        """The blocks below all fast weights, on a whole text or on a piece behind `states`."""
        blocks, x = list(self.base.blocks)[: self.first], self.base.embed(tokens)
        return run_blocks(blocks, x, states, self.base.context())

    def read_chunks(
        self, carry: Carry, hidden: Hidden, targets: Tokens, more: bool, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Reading, Carry]:
        """Chunk after chunk; the last one is learnt from only if `more` comes.

        `weights`: instead of the model's own, those of the upper blocks and the logarithm of the rate.
        """
        if targets.shape != hidden.shape[:2]:
            raise ValueError(
                f"{tuple(targets.shape)} targets for {tuple(hidden.shape[:2])} tokens; expected one for each"
            )
        known_ids(self.base.cfg.vocab, targets=targets)
        parts = []
        for start in range(0, hidden.shape[1], self.inner.chunk):
            piece = slice(start, start + self.inner.chunk)
            learn = more or piece.stop < hidden.shape[1]
            part, carry = self.read_chunk(carry, hidden[:, piece], targets[:, piece], learn, weights)
            parts.append(part)
        return joined(parts), carry

    @outside_inference_mode
    def read_chunk(
        self, carry: Carry, hidden: Hidden, targets: Tokens, learn: bool, weights: Mapping[str, Tensor] | None = None
    ) -> tuple[Reading, Carry]:
        """Score one chunk with the fast weights that came in, then take the step."""
        slow = dict(weights or {})
        log_rate = slow.pop(LOG_RATE, self.log_rate)
        order: Order = self.inner.order if torch.is_grad_enabled() else "none"

        def loss(fast: Fast) -> tuple[Float[Tensor, " batch"], tuple[Reading, LayerStates]]:
            with backend.using("plain") if order == "exact" else nullcontext():
                logits, states = self.run_upper({**slow, **fast}, hidden, carry.states)
            losses = F.cross_entropy(logits.mT, targets, reduction="none")
            return losses.mean(1), (Reading(losses, logits), states)

        if learn:
            fast, rest = inner_step(carry.fast, loss, self.rate(log_rate), clip=self.inner.clip, order=order)
        else:
            fast, (_, rest) = carry.fast, loss(carry.fast)
        reading, states = rest
        return reading, Carry(fast, states)

    def run_upper(
        self, weights: Mapping[str, Tensor], hidden: Hidden, states: LayerStates | None
    ) -> tuple[Logits, LayerStates]:
        """Logits of a piece with these weights, the fast ones at least, in the place of the model's own."""
        return call_with(self.upper, weights, self._places, hidden, states, self.base.context())


def meta_loss(model: TTTModel, batch: Batch) -> tuple[Float[Tensor, ""], Logits]:
    """The outer loss: the mean loss of the texts as they are read (arXiv 2512.23675, equation 6)."""
    reading = model.read(batch.tokens, batch.targets)
    return weighted_mean(reading.losses, batch.weight), reading.logits


def _fast_parameters(model: LanguageModel, chosen: dict[str, nn.Module]) -> tuple[int, list[str]]:
    """The lowest block with a fast weight, and the names of the fast weights counted from it."""
    if outside := [name for name in chosen if not name.startswith("blocks.")]:
        raise ValueError(f"{', '.join(outside)} cannot be fast: only parts of blocks can; select within 'blocks.*'")
    if empty := [name for name, module in chosen.items() if not list(module.parameters())]:
        raise ValueError(f"{', '.join(empty)} has no parameters that could learn")
    first = min(int(name.split(".")[1]) for name in chosen)
    inside = {id(p) for module in chosen.values() for p in module.parameters()}
    return first, [name for name, p in model.upper_from(first).named_parameters() if id(p) in inside]


def _check_plan(cfg: ModelConfig, chunk: int) -> None:
    """Inside a chunk nothing has been learnt of it yet: what stands there must be in the window (2512.23675, 2.3)."""
    if cfg.layers.memory_above is not None:
        raise ValueError(f"plan {cfg.plan!r} has a chunk memory, which no inner loop carries; use a plan without hsa")
    if cfg.layers.count("swa") and cfg.window < chunk:
        raise ValueError(
            f"window={cfg.window} is shorter than chunk={chunk}: tokens of a chunk would be neither "
            "attended to nor learnt yet; make the window at least as long, or the chunk shorter"
        )
