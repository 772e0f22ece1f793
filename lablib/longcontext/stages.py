"""A curriculum as a value: stages of length, window, top-k and data, and what happens where two of them meet.

HSA-UltraLong (arXiv 2511.23319, section 3.2) trains in stages: a warm-up with a window of 512 and a top-k that covers
the row, then a window of 4K and a sparse top-k, then longer rows. The toy's stages have the same shape at lengths of
64 to 512. Everything that a stage decides is a pure function of the step, so a run can stop anywhere and go on.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Literal

from lablib.core.config import Config
from lablib.train.optim import OptimConfig
from lablib.train.schedule import ScheduleConfig, factor

KINDS = ("retrieval", "reasoning", "plain", "copied")
ASKED = KINDS[:2]  # the kinds with a question in each row


def _no_weights(weights: tuple[float, ...]) -> bool:
    return not all(0 <= weight < math.inf for weight in weights) or sum(weights) == 0


@dataclass(frozen=True, kw_only=True)
class Mix(Config):
    """How often each kind of row is drawn, in any unit. All of a batch's rows count alike, whatever they hold.

    retrieval    needles; the answers count                  plain     haystack alone; every next token counts
    reasoning    chains of look-ups; the answer counts       copied    a row and its copy; the copy counts (self-copy)
    """

    retrieval: float = 1.0
    reasoning: float = 0.0
    plain: float = 0.0
    copied: float = 0.0

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield _no_weights(self.weights), f"a mix needs weights >= 0 that do not sum to zero; got {self.flat()}"

    @property
    def weights(self) -> tuple[float, ...]:
        """In the order of KINDS."""
        return tuple(getattr(self, kind) for kind in KINDS)


@dataclass(frozen=True, kw_only=True)
class Stage(Config):
    """Steps `start` to `stop` (that one excluded) under one setting; lengths and windows in tokens.

    lengths     of rows; each batch has one of them, drawn by `length_weights` (default: all alike)
    top_k       chunks that a token reads; None is dense: as many as the longest row has
    transition  how window and top-k come from the stage before: at once, or over `transition_steps`
    rate        of learning at the transition: one schedule goes through, is warmed up again, or starts anew for this
                stage (then the schedule of the stages before ends there)
    shrinks     says that a shorter row or a narrower window than before is meant
    """

    start: int
    stop: int
    lengths: tuple[int, ...] = (64,)
    length_weights: tuple[float, ...] | None = None
    window: int = 8
    top_k: int | None = 4
    mix: Mix = Mix()
    transition: Literal["step", "linear", "cosine"] = "step"
    transition_steps: int = 0
    rate: Literal["through", "warm up again", "start anew"] = "through"
    shrinks: bool = False

    def faults(self) -> Iterator[tuple[bool, str]]:
        window, top_k, lengths, steps = self.window, self.top_k, self.lengths, self.transition_steps
        start, stop = self.start, self.stop
        yield stop <= start, f"a stage from step {start} to {stop} has no step; set stop above start"
        too_few = window < 1 or (top_k is not None and top_k < 1)
        yield too_few, f"window is {window} and top_k {top_k}: expected at least 1 (top_k=None reads all chunks)"
        at_least = "expected at least one length of at least one token"
        yield min(lengths, default=0) < 1, f"lengths is {lengths}; {at_least}"
        each = "expected one weight >= 0 for each, not all of them zero"
        unfit = len(self.weights) != len(lengths) or _no_weights(self.weights)
        yield unfit, f"length_weights is {self.weights} for the lengths {lengths}: {each}"
        yield not 0 <= steps <= stop - start, f"transition_steps is {steps}; expected 0 to {stop - start}, the stage"
        unlike = (self.transition == "step") != (steps == 0)
        yield unlike, f"transition {self.transition!r} with {steps} steps: a step takes 0, a slope more"

    @property
    def weights(self) -> tuple[float, ...]:
        """One weight a length."""
        return (1.0,) * len(self.lengths) if self.length_weights is None else self.length_weights


@dataclass(frozen=True, kw_only=True)
class Curriculum(Config):
    """Stages without gap or overlap, at equal `tokens` a batch: longer rows are fewer rows."""

    stages: tuple[Stage, ...] = (Stage(start=0, stop=600),)
    tokens: int = 2048
    log_every: int = 20
    checkpoint_every: int = 200
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    limits: ClassVar = {"at least 1": "tokens log_every checkpoint_every"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield not self.stages, "stages is empty; a curriculum has at least one stage"
        first, longest = self.stages[0].start, max(max(stage.lengths) for stage in self.stages)
        yield first != 0, f"stages[0].start is {first}; the first stage starts at step 0"
        for number, (before, after) in enumerate(pairwise(self.stages), start=1):
            yield from _transition_faults(f"stages[{number}]", before, after)
        way_out = "set tokens to a multiple of that, or the lengths lower"
        too_long = f"tokens is {self.tokens} a batch, but a stage has rows of {longest} tokens; {way_out}"
        yield longest > self.tokens, too_long

    @property
    def steps(self) -> int:
        return self.stages[-1].stop

    def number_at(self, step: int) -> int:
        """Which stage `step` belongs to; the last one from its end on."""
        return sum(step >= stage.stop for stage in self.stages[:-1])

    def at_step(self, step: int) -> Stage:
        """The stage that `step` belongs to."""
        return self.stages[self.number_at(step)]

    def window_at(self, step: int) -> int:
        """Window in tokens, on its way over a transition."""
        return self._between(step, lambda stage: stage.window)

    def top_k_at(self, step: int, chunk: int) -> int:
        """Chunks (of `chunk` tokens) that a token reads, on their way over a transition."""
        return self._between(step, lambda stage: stage.top_k or -(-max(stage.lengths) // chunk))

    def rate_at(self, step: int) -> float:
        """Share of the peak learning rate."""
        number = self.number_at(step)
        anew = [i for i, stage in enumerate(self.stages) if i == 0 or stage.rate == "start anew"]
        begin = max(self.stages[i].start for i in anew if i <= number)
        end = min((self.stages[i].start for i in anew if i > number), default=self.steps)
        share, stage = factor(self.schedule, step - begin, end - begin), self.stages[number]
        if stage.rate == "warm up again" and number > 0:
            share *= min(1.0, (step - stage.start + 1) / (self.schedule.warmup + 1))
        return share

    def _between(self, step: int, value: Callable[[Stage], int]) -> int:
        number, stage = self.number_at(step), self.at_step(step)
        if number == 0 or step - stage.start >= stage.transition_steps:
            return value(stage)
        before, done = value(self.stages[number - 1]), (step - stage.start + 1) / (stage.transition_steps + 1)
        share = 0.5 * (1 - math.cos(math.pi * done)) if stage.transition == "cosine" else done
        return round(before + share * (value(stage) - before))


def _transition_faults(name: str, before: Stage, after: Stage) -> Iterator[tuple[bool, str]]:
    apart, way_out = after.start - before.stop, f"set start={before.stop}"
    gap = f"{'a gap' if apart > 0 else 'an overlap'} of {abs(apart)} steps; {way_out}"
    yield apart != 0, f"{name}.start is {after.start}, but the stage before stops at {before.stop}: {gap}"
    meant = "stages do not shrink; set shrinks=True on it if that is meant"
    shorter, narrower = max(after.lengths) < max(before.lengths), after.window < before.window
    yield shorter and not after.shrinks, f"{name}.lengths is {after.lengths}, after {before.lengths}: {meant}"
    yield narrower and not after.shrinks, f"{name}.window is {after.window}, after {before.window}: {meant}"
