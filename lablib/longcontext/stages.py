"""A curriculum as a value: stages of length, window, top-k and data, and what happens where two of them meet.

HSA-UltraLong (arXiv 2511.23319, section 3.2) trains in stages: a warm-up with a window of 512 and a top-k that covers
the row, then a window of 4K and a sparse top-k, then longer rows. The toy's stages have the same shape at lengths of
64 to 512. Everything that a stage decides is a pure function of the step, so a run can stop anywhere and go on.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from lablib.core.config import Config
from lablib.train.optim import OptimConfig
from lablib.train.schedule import ScheduleConfig, factor

KINDS = ("retrieval", "reasoning", "plain", "copied")


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

    def __post_init__(self):
        super().__post_init__()
        if not all(0 <= weight < math.inf for weight in self.weights) or sum(self.weights) == 0:
            raise ValueError(f"a mix needs weights >= 0 that do not sum to zero; got {self.flat()}")

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

    def __post_init__(self):
        super().__post_init__()
        if self.stop <= self.start:
            raise ValueError(f"a stage from step {self.start} to {self.stop} has no step; set stop above start")
        if self.window < 1 or (self.top_k is not None and self.top_k < 1):
            raise ValueError(
                f"window is {self.window} and top_k {self.top_k}: expected at least 1 (top_k=None reads all chunks)"
            )
        if not self.lengths or min(self.lengths) < 1:
            raise ValueError(f"lengths is {self.lengths}; expected at least one length of at least one token")
        weights = self.weights
        finite = all(0 <= weight < math.inf for weight in weights)
        if len(weights) != len(self.lengths) or not finite or sum(weights) == 0:
            raise ValueError(
                f"length_weights is {weights} for the lengths {self.lengths}: expected one weight >= 0 for each, "
                "not all of them zero"
            )
        if not 0 <= self.transition_steps <= self.stop - self.start:
            raise ValueError(
                f"transition_steps is {self.transition_steps}; expected 0 to {self.stop - self.start}, the stage"
            )
        if (self.transition == "step") != (self.transition_steps == 0):
            raise ValueError(
                f"transition {self.transition!r} with {self.transition_steps} steps: a step takes 0, a slope more"
            )

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

    def __post_init__(self):
        super().__post_init__()
        if not self.stages:
            raise ValueError("stages is empty; a curriculum has at least one stage")
        if self.stages[0].start != 0:
            raise ValueError(f"stages[0].start is {self.stages[0].start}; the first stage starts at step 0")
        for i, (before, after) in enumerate(pairwise(self.stages), start=1):
            _check_transition(i, before, after)
        longest = max(max(stage.lengths) for stage in self.stages)
        if longest > self.tokens:
            raise ValueError(
                f"tokens is {self.tokens} a batch, but a stage has rows of {longest} tokens; set tokens to a multiple "
                "of that, or the lengths lower"
            )

    @property
    def steps(self) -> int:
        return self.stages[-1].stop

    def number_at(self, step: int) -> int:
        """Which stage `step` belongs to; the last one from its end on."""
        return next((i for i, stage in enumerate(self.stages) if step < stage.stop), len(self.stages) - 1)

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
        number = self.number_at(step)
        stage = self.stages[number]
        if number == 0 or step - stage.start >= stage.transition_steps:
            return value(stage)
        before = value(self.stages[number - 1])
        return round(before + transition_share(stage, step) * (value(stage) - before))


def transition_share(stage: Stage, step: int) -> float:
    """How far `step` is over the transition at the beginning of a stage, in [0, 1]."""
    done = min(1.0, (step - stage.start + 1) / (stage.transition_steps + 1))
    return 0.5 * (1 - math.cos(math.pi * done)) if stage.transition == "cosine" else done


def _check_transition(number: int, before: Stage, after: Stage) -> None:
    if after.start != before.stop:
        kind = "a gap" if after.start > before.stop else "an overlap"
        raise ValueError(
            f"stages[{number}].start is {after.start}, but the stage before stops at {before.stop}: {kind} of "
            f"{abs(after.start - before.stop)} steps; set start={before.stop}"
        )
    shorter = max(after.lengths) < max(before.lengths)
    if (shorter or after.window < before.window) and not after.shrinks:
        name = "lengths" if shorter else "window"
        raise ValueError(
            f"stages[{number}].{name} is {getattr(after, name)}, after {getattr(before, name)}: stages do not shrink; "
            "set shrinks=True on it if that is meant"
        )
