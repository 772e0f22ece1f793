"""How far retrieval reaches on two cores: needles by depth and length, 64 to 64M tokens (arXiv 2511.23319, Fig. 4).

The haystack is read once and asked many times. One needle is S-NIAH, six needles of which two are asked for MQ-NIAH;
both leave the number of distractors as it is when the input grows. The third task does not: one needle with another
key stands every 64 tokens, and that is what a real input is more like.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pandas as pd
import torch

from lablib.core.config import grid
from lablib.core.experiment import experiment
from lablib.core.measure import forget_peak_memory, peak_memory, timed
from lablib.core.seeds import generator
from lablib.core.store import lab_home
from lablib.data.questions import draw_questions
from lablib.longcontext.experiments.forecast import HAYSTACKS, LENGTHS, ForecastConfig, foretell, text_for
from lablib.longcontext.experiments.reader import STOPPED, trained_reader
from lablib.longcontext.long_range import answer_all, by_depth
from lablib.nn.model import LanguageModel
from lablib.nn.storage import check_room
from lablib.nn.streaming import encode

TASKS: dict[str, dict[str, Any]] = {
    "six needles, two asked": {"num_needles": 6, "asked": 2},
    "one needle": {},
    "growing distractors": {},
}
IN_MEMORY = LENGTHS[-2]  # 16M tokens


@dataclass(frozen=True, kw_only=True)
class LongRangeConfig(ForecastConfig):
    """One reader on inputs of one length in one haystack; `questions` a task, spread over `strata` of the depth."""

    length: int = 4096
    questions: int = 200
    strata: int = 10
    tokens_per_distractor: int = 64
    longest_with_distractors: int = 1 << 20  # beyond it that task, which reads a haystack of its own, is left out
    mapped: bool = False  # keep the chunk store in files below LAB_HOME instead of in memory

    scales: ClassVar = {
        "smoke": ForecastConfig.scales["smoke"] | {"length": 256, "questions": 10},
    }

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield from super().faults()
        trained, number, strata = self.data.length, self.questions, self.strata
        yield self.length < trained, f"length={self.length} is below the training length of {trained} tokens"
        yield number % strata, f"questions={number} cannot be spread evenly over strata={strata}"


def long_range_arms(scale: str, longest: int | None = None) -> list[LongRangeConfig]:
    """Lengths from the training length in fourfold steps, in both haystacks.

    full: five seeds to 16M, three beyond it on disk, and three of each weaker reader, which miss. lab: seed 0 to 1M.
    `longest` asks for seed 0 of the scale up to that length instead, which itself comes last.
    Raises ValueError for a length below the training length, or one that this machine has no room for.
    """
    base = LongRangeConfig.at(scale)
    both = {"haystack": HAYSTACKS}
    if longest is not None:
        (last,) = _at(base, longest)
        check_room(last.model, longest, _folder(last))
        return [arm for n in (*(n for n in LENGTHS if n < longest), longest) for arm in _at(base, n, **both)]
    if scale != "full":
        lengths = LENGTHS[:2] if scale == "smoke" else [n for n in LENGTHS if n <= 1 << 20]
        return [arm for n in lengths for arm in _at(base, n, **both)]
    weak = {"more": [None], "train__steps": STOPPED, "seed": range(3)}
    return [
        *(arm for n in LENGTHS if n <= IN_MEMORY for arm in _at(base, n, **both, seed=range(5))),
        *_at(base.replace(questions=50), LENGTHS[-1], seed=range(3)),
        *(arm for n in (4096, 65_536, 1 << 20) for arm in _at(base, n, **weak, **both)),
        *_at(base, IN_MEMORY, **weak | {"train__steps": STOPPED[-1:]}),
    ]


def _at(base: LongRangeConfig, length: int, **axes) -> list[LongRangeConfig]:
    return grid(base.replace(length=length, mapped=length > IN_MEMORY), **axes)


def _folder(cfg: LongRangeConfig):
    return lab_home() / "mapped" if cfg.mapped else None


@experiment("longcontext/long_range", version=1, arms=long_range_arms)
def long_range(cfg: LongRangeConfig) -> pd.DataFrame:
    """A row a task and stratum of the depth: exact answers, chunks found and missed, the forecast, and the cost."""
    check_room(cfg.model, cfg.length, _folder(cfg))
    model, long = trained_reader(cfg), text_for(cfg, cfg.length)
    facts = {"weak": int(cfg.more is None)} | foretell(model, cfg)(cfg.length)
    if long is not None:
        facts["repeats_after"] = long.repeats_after
    text = None if long is None else long.tokens
    known = forget_peak_memory()  # else the peak is that of whatever this process did before
    rows = ask_tasks(model, cfg, ("six needles, two asked", "one needle"), text)
    if cfg.length <= cfg.longest_with_distractors:
        rows += ask_tasks(model, cfg, ("growing distractors",), text)
    table = pd.DataFrame(rows).assign(**facts, peak_megabytes=peak_memory() / 2**20 if known else math.nan)
    if long is not None:
        table.attrs["corpus"] = long.corpus
    return table


def ask_tasks(
    model: LanguageModel, cfg: LongRangeConfig, tasks: tuple[str, ...], text: torch.Tensor | None
) -> list[dict]:
    """Read one haystack once and ask the questions of several tasks on it; the first tail decides how long it is."""
    rows, stream, haystack, spent = [], None, None, 0.0
    for task in tasks:
        options = TASKS[task] | {"strata": cfg.strata, "haystack": haystack}
        if task == "growing distractors":
            options["distractors"] = cfg.length // cfg.tokens_per_distractor
        random = generator("long questions", cfg.seed)
        questions = draw_questions(cfg.asked_of, cfg.length, cfg.questions, random, text, **options)
        questions = questions._replace(haystack=questions.haystack.to(torch.int16))  # 16M tokens in a quarter
        haystack = questions.haystack
        if stream is None:
            stream, spent = timed(encode, model, haystack, folder=_folder(cfg))
        answers, asking = timed(answer_all, model, stream, questions)
        cost = {"encode_seconds": spent, "question_seconds": asking / cfg.questions}
        cost = {"store_bytes": stream.num_bytes, **cost}
        rows += [{"task": task, **row, **cost} for row in by_depth(answers, cfg.strata)]
    return rows
