"""How far retrieval reaches on two cores: needles by depth and length, 64 to 64M tokens (arXiv 2511.23319, Fig. 4).

`longcontext/long_range` reads a haystack once and asks it many times. One needle is S-NIAH, six needles of which two
are asked for MQ-NIAH; both leave the number of distractors as it is when the input grows. The third task does not: one
needle with another key stands every 64 tokens, and that is what a real input is more like.
`longcontext/forecast` foretells the miss rate at every length from the tail of the noise scores at 4K tokens. It was
recorded before the other was measured. Weaker readers are part of it: models that miss nothing would not put a law to
the test.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pandas as pd
import torch

from lablib.core.config import grid
from lablib.core.experiment import experiment
from lablib.core.measure import forget_peak_memory, peak_memory, timed
from lablib.core.seeds import generator
from lablib.core.store import lab_home
from lablib.data.questions import check_questions, draw_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.data.text import Text, long_text
from lablib.longcontext.experiments.reader import STOPPED, ReaderConfig, reader_arms, sources, trained_reader
from lablib.longcontext.long_range import answer_all, by_depth, gaussian_tail, miss_rate, pareto_tail, sample_scores
from lablib.nn.model import LanguageModel
from lablib.nn.storage import check_room
from lablib.nn.streaming import encode

LENGTHS = tuple(64 * 4**i for i in range(11))  # 64 to 64M
IN_MEMORY = LENGTHS[-2]  # 16M tokens
HAYSTACKS = ("synthetic", "text")
ROOM = 1 << 20  # tokens of text beyond a haystack, so that seeds begin at different places
TASKS: dict[str, dict[str, Any]] = {
    "six needles, two asked": {"num_needles": 6, "asked": 2},
    "one needle": {},
    "growing distractors": {},
}


# ---- the forecast


@dataclass(frozen=True, kw_only=True)
class ForecastConfig(ReaderConfig):
    """A reader and a haystack: scores of `sampled_questions` on each of `sampled_haystacks` of `sampled_length`."""

    haystack: Literal["synthetic", "text"] = "synthetic"
    sampled_length: int = 4096
    sampled_haystacks: int = 16
    sampled_questions: int = 25

    scales: ClassVar = {
        "smoke": ReaderConfig.scales["smoke"] | {"sampled_length": 512, "sampled_haystacks": 2, "sampled_questions": 5}
    }
    limits: ClassVar = {"at least 1": "sampled_haystacks sampled_questions"}

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield from super().faults()
        check_questions(self.asked_of, self.sampled_length, strata=min(10, self.sampled_questions))

    @property
    def asked_of(self) -> RetrievalConfig:
        """The task in the haystack of this configuration."""
        return sources(self.data)[self.haystack == "text"]

    def text(self, length: int) -> Text | None:
        """Text for a haystack of that length and room for it to begin anywhere; None where the haystack is drawn."""
        return long_text(length + ROOM) if self.haystack == "text" else None


def forecast_arms(scale: str) -> list[ForecastConfig]:
    """Every reader in both haystacks."""
    base = ForecastConfig.at(scale)
    return [arm for cfg in reader_arms(scale) for arm in grid(base.replace(**vars(cfg)), haystack=HAYSTACKS)]


@experiment("longcontext/forecast", version=1, arms=forecast_arms)
def forecast(cfg: ForecastConfig) -> pd.DataFrame:
    """A row a length: chunks, and the predicted miss rate by the generalised Pareto and by the normal tail."""
    predict = foretell(trained_reader(cfg), cfg)
    table = pd.DataFrame([{"length": length, **predict(length)} for length in LENGTHS])
    return _with_corpus(table, cfg.text(cfg.sampled_length))


def _with_corpus(table: pd.DataFrame, text: Text | None) -> pd.DataFrame:
    if text is not None:
        table.attrs["corpus"] = text.corpus
    return table


def foretell(model: LanguageModel, cfg: ForecastConfig) -> Callable[[int], dict[str, float]]:
    """A function from a length in tokens to the predicted miss rates there."""
    text = cfg.text(cfg.sampled_length)
    sampled, random = (cfg.sampled_length, cfg.sampled_haystacks, cfg.sampled_questions), generator("scores", cfg.seed)
    sample = sample_scores(model, cfg.asked_of, *sampled, random, None if text is None else text.tokens)
    tails = {"pareto_miss": pareto_tail(sample), "gaussian_miss": gaussian_tail(sample)}

    def predict(length: int) -> dict[str, float]:
        chunks = length // cfg.model.chunk
        return {name: miss_rate(tail, chunks, cfg.model.top_k) for name, tail in tails.items()} | {"chunks": chunks}

    return predict


# ---- the measurement


@dataclass(frozen=True, kw_only=True)
class LongRangeConfig(ForecastConfig):
    """One reader on inputs of one length in one haystack; `questions` a task, spread over `strata` of the depth."""

    length: int = 4096
    questions: int = 200
    strata: int = 10
    tokens_per_distractor: int = 64
    longest_with_distractors: int = 1 << 20  # beyond it that task, which reads a haystack of its own, is left out
    mapped: bool = False  # keep the chunk store in files below LAB_HOME instead of in memory

    scales: ClassVar = {"smoke": ForecastConfig.scales["smoke"] | {"length": 256, "questions": 10}}
    limits: ClassVar = {"at least 1": "questions strata tokens_per_distractor"}

    def faults(self) -> Iterator[tuple[Any, str]]:
        yield from super().faults()
        trained, number, strata = self.data.length, self.questions, self.strata
        yield self.length < trained, f"length={self.length} is below the training length of {trained} tokens"
        yield number % strata, f"questions={number} cannot be spread evenly over strata={strata}"
        for task in self.tasks:
            check_questions(self.asked_of, self.length, strata=strata, **self.options(task))

    @property
    def tasks(self) -> list[str]:
        """The tasks that are asked at this length."""
        return list(TASKS)[: 3 if self.length <= self.longest_with_distractors else 2]

    def options(self, task: str) -> dict[str, Any]:
        """How the questions of a task are drawn."""
        if task != "growing distractors":
            return TASKS[task]
        return {"distractors": self.length // self.tokens_per_distractor}

    @property
    def folder(self) -> Path | None:
        """Where the chunk store lies; None: in memory."""
        return lab_home() / "mapped" if self.mapped else None


def long_range_arms(scale: str, longest: int | None = None) -> list[LongRangeConfig]:
    """Lengths from the training length in fourfold steps, in both haystacks.

    full: five seeds to 16M, three beyond it on disk, and three of each weaker reader, which miss. lab: seed 0 to 1M.
    `longest` asks for seed 0 of the scale up to that length instead, which itself comes last.
    Raises ValueError for a length below the training length, or one that this machine has no room for.
    """
    base, both = LongRangeConfig.at(scale), {"haystack": HAYSTACKS}
    if longest is not None:
        (last,) = _at(base, longest)
        check_room(last.model, longest, last.folder)
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


@experiment("longcontext/long_range", version=1, arms=long_range_arms)
def long_range(cfg: LongRangeConfig) -> pd.DataFrame:
    """A row a task and stratum of the depth: exact answers, chunks found and missed, the forecast, and the cost."""
    check_room(cfg.model, cfg.length, cfg.folder)
    model, long = trained_reader(cfg), cfg.text(cfg.length)
    facts = {"weak": int(cfg.more is None)} | foretell(model, cfg)(cfg.length)
    if long is not None:
        facts["repeats_after"] = long.repeats_after
    text = None if long is None else long.tokens
    known = forget_peak_memory()  # else the peak is that of whatever this process did before
    rows = ask_tasks(model, cfg, cfg.tasks[:2], text)
    if more := cfg.tasks[2:]:  # they need a haystack of their own
        rows += ask_tasks(model, cfg, more, text)
    table = pd.DataFrame(rows).assign(**facts, peak_megabytes=peak_memory() / 2**20 if known else math.nan)
    return _with_corpus(table, long)


def ask_tasks(model: LanguageModel, cfg: LongRangeConfig, tasks: list[str], text: torch.Tensor | None) -> list[dict]:
    """Read one haystack once and ask the questions of several tasks on it; the first tail decides how long it is."""
    rows, stream, haystack, spent = [], None, None, 0.0
    for task in tasks:
        options = cfg.options(task) | {"strata": cfg.strata, "haystack": haystack}
        random = generator("long questions", cfg.seed)
        questions = draw_questions(cfg.asked_of, cfg.length, cfg.questions, random, text, **options)
        questions = questions._replace(haystack=questions.haystack.to(torch.int16))  # 16M tokens in a quarter
        haystack = questions.haystack
        if stream is None:
            stream, spent = timed(encode, model, haystack, folder=cfg.folder)
        answers, asking = timed(answer_all, model, stream, questions)
        cost = {"store_bytes": stream.num_bytes, "encode_seconds": spent, "question_seconds": asking / cfg.questions}
        rows += [{"task": task, **row, **cost} for row in by_depth(answers, cfg.strata)]
    return rows
