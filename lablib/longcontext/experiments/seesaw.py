"""The seesaw (arXiv 2511.23319, section 4): windows, controls, the other side, ablations, and the tuning of both ends.

`longcontext/seesaw` trains on short rows and asks at long lengths. `longcontext/tuning` is the same measurement over
learning rates, widths and initialisations at both end windows: does the ranking hang on how the model was tuned?
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pandas as pd
import torch
from torch import Generator

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.core.store import lab_home
from lablib.core.weights_cache import weights_place
from lablib.data.batch import Batch
from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.data.text import standard_library
from lablib.longcontext.seesaw import RetrievalProbe, ask, mean_of
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.evaluate import budget, forward_flops, held_out
from lablib.train.loop import TrainConfig, fit

DATA = RetrievalConfig()
TRAINING = 1  # version of the training here: raise it when the trained weights change
DOUBLINGS = tuple(64 * 4**i for i in range(6))  # 64 to 64K
MILLION = (*DOUBLINGS, 262_144, 1_048_576)


@dataclass(frozen=True, kw_only=True)
class SeesawConfig(Config):
    """One model: trained on short rows, asked at long lengths (in tokens).

    `objective` is "answers" (only the answers count) or "tokens" (every next token does); the two are never mixed.
    """

    seed: int = 0
    objective: Literal["answers", "tokens"] = "answers"
    model: ModelConfig = ModelConfig(vocab=RetrievalConfig().vocab)
    data: RetrievalConfig = RetrievalConfig()
    train: TrainConfig = TrainConfig(steps=600, log_every=10)
    lengths: tuple[int, ...] = DOUBLINGS
    haystacks: int = 4
    questions: int = 50  # on each haystack

    scales: ClassVar = {
        "smoke": {
            "train": TrainConfig(steps=6, batch=4, log_every=2),
            **{"lengths": (64, 256), "haystacks": 1, "questions": 4},
        },
        "lab": {"haystacks": 2, "questions": 30},
    }
    limits: ClassVar = {"at least 1": "haystacks questions"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        own, data, trained = self.model.vocab, self.data.vocab, self.data.length
        self.model.state_bytes(trained)  # a plan whose state nobody counts is refused now
        too_short = f"lengths {self.lengths} begin below the training length {trained}"
        yield min(self.lengths, default=trained) < trained, too_short
        yield own != data, f"model.vocab is {own}, but the data has {data} token ids; set it to that"


def train_seesaw(cfg: SeesawConfig) -> tuple[LanguageModel, pd.DataFrame, Path]:
    """The trained model of an arm, its training table, and its checkpoint below the store; resumes what is there."""
    place = weights_place("longcontext/seesaw", TRAINING, cfg.replace(lengths=(), haystacks=1, questions=1).digest())
    model, draw = LanguageModel(cfg.model, generator("weights", cfg.seed)), functools.partial(draw_rows, cfg, "train")
    random, probes = generator("training", cfg.seed), [RetrievalProbe()]
    table = fit(model, draw, cfg.train, random, hooks=probes, checkpoint=place)
    return model.eval(), table, place


def draw_rows(cfg: SeesawConfig, split: str, batch: int, random: Generator) -> Batch:
    """A batch of training rows of the arm's task; `split` of the text where the haystack is text."""
    return training_batch(cfg.data, batch, random, text_of(cfg, split), answers_only=cfg.objective == "answers")


def text_of(cfg: SeesawConfig, split: str = "held-out") -> torch.Tensor | None:
    """The text of a split where the haystack is text."""
    return standard_library(split).tokens if cfg.data.haystack == "text" else None


def measured_table(cfg: SeesawConfig, model: LanguageModel, *parts: pd.DataFrame) -> pd.DataFrame:
    """Parts of an arm's table as one, with the budget of the first training and the corpus that was read."""
    rows = cfg.train.steps * cfg.train.batch
    flops = 3 * cfg.train.steps * forward_flops(model, cfg.train.batch, cfg.data.length)
    table = pd.concat(parts, ignore_index=True).assign(**budget(model, tokens=rows * cfg.data.length, flops=flops))
    if cfg.data.haystack == "text":
        table.attrs["corpus"] = standard_library("held-out").corpus
    return table


def seesaw_arms(scale: str) -> list[SeesawConfig]:
    """The arms of a scale: the windows, the controls, the other side of the seesaw, and the ablations."""
    base = SeesawConfig.at(scale)
    ends = grid(base, model__window=[8, 64], seed=range(2))
    local = base.replace(objective="tokens", data__copy_probability=0.5, lengths=(64,))
    smoke = [*ends, base.replace(model__plan="swa swa"), *grid(local, model__window=[8, 64])]
    return full_arms(base) if scale == "full" else ends if scale == "lab" else smoke


def full_arms(base: SeesawConfig) -> list[SeesawConfig]:
    """By claim, what the full scale trains."""
    plain = base.replace(lengths=tuple(n for n in base.lengths if n <= 4096))  # the cost grows with the square
    local = base.replace(objective="tokens", lengths=(64,), data__copy_probability=0.5, train__steps=1200)
    changes = ({"model__landmark": "mean"}, {"model__fusion": "stick-breaking"}, {"model__bypass": False})
    changed = [base.replace(**change) for change in (*changes, {"data__num_pairs": 2}, {"data__num_pairs": 6})]
    ends, five = {"model__window": [8, 64]}, {"seed": range(5)}
    return [
        # a, b and d: windows from one chunk to the whole row; ten seeds at the ends, to a million for one chunk
        *grid(base.replace(lengths=MILLION), model__window=[8], seed=range(10)),
        *grid(base, model__window=[16, 32, 48, 56], **five),
        *grid(base, model__window=[64], seed=range(10)),
        # e: no retrieval, full attention, and retrieval whose scores get no gradient or whose read has RoPE
        *grid(base, model__plan=["swa swa"], **ends, **five),
        *grid(plain, model__plan=["full full", "full-nope full-nope"], **five),
        *grid(base, model__fusion=["concat"], **five),
        *grid(base, model__hsa_rope=[True], **five),
        # c: every next token counts; a haystack with a local component, and the real text
        *grid(local, model__window=[8, 16, 32, 64], **five),
        *grid(over_text(local.replace(data__copy_probability=0.0)), model__window=[8, 16, 32, 64], **five),
        # one thing changed at both end windows: five seeds for the initialisation, else three (exploratory)
        *grid(base.replace(model__retrieval_init="ordinary"), **ends, **five),
        *(arm for kind in [*changed, over_text(base)] for arm in grid(kind, **ends, seed=range(3))),
    ]


def over_text(base: SeesawConfig) -> SeesawConfig:
    """The same on the bytes of the standard library's sources instead of the synthetic haystack."""
    data = base.data.replace(haystack="text")
    return base.replace(data=data, model__vocab=data.vocab)


def tuning_arms(scale: str) -> list[SeesawConfig]:
    """Both end windows: three learning rates with either initialisation, and twice the width with the middle rate."""
    base, ends = SeesawConfig.at(scale), {"model__window": [8, 64]}
    if scale != "full":
        rates, seeds = {"smoke": ([2e-3], 1), "lab": ([2e-3, 8e-3], 2)}[scale]
        return grid(base, train__optim__lr=rates, **ends, seed=range(seeds))
    base, inits, ends["seed"] = base.replace(lengths=(64, 1024, 16_384)), ("identity", "ordinary"), range(5)
    tuned = grid(base, model__retrieval_init=inits, train__optim__lr=[2e-3, 4e-3, 8e-3], **ends)
    return tuned + grid(base, model__width=[64], **ends)


@experiment("longcontext/seesaw", version=1, arms=seesaw_arms)
def seesaw(cfg: SeesawConfig) -> pd.DataFrame:
    """Train one model and measure it: rows with phase "train" by step, "heldout" once, and "test" by length."""
    table = train_and_test(cfg)
    plain = SeesawConfig(lengths=cfg.lengths).replace(model__window=cfg.model.window)
    table.attrs["keep_checkpoint"] = cfg == plain and cfg.model.window in (8, 64)
    return table


def train_and_test(cfg: SeesawConfig) -> pd.DataFrame:
    """The table of one model: training by step, held-out loss at the training length, questions by length."""
    model, training, place = train_seesaw(cfg)
    draw = functools.partial(draw_rows, cfg, "held-out")
    found = held_out(model, draw, cfg.train.batch, generator("held out", cfg.seed))
    rows = [{"phase": "heldout", "length": cfg.data.length, **found}]
    if cfg.objective == "answers":
        rows += [_test(model, cfg, length) for length in cfg.lengths]
    table = measured_table(cfg, model, training.assign(phase="train", length=cfg.data.length), pd.DataFrame(rows))
    table.attrs["checkpoint"] = place.relative_to(lab_home()).as_posix()
    return table


tuning = experiment("longcontext/tuning", version=1, arms=tuning_arms)(train_and_test)


def _test(model: LanguageModel, cfg: SeesawConfig, length: int) -> dict[str, float | str]:
    """Questions at one length, averaged; exact recall also inside and outside the stacked reach."""
    random = generator("questions", cfg.seed)
    results = ask(model, cfg.data, length, cfg.haystacks, cfg.questions, random, text_of(cfg))
    inside, state = results["distance"] <= model.reach, cfg.model.state_bytes(length)
    row = {"phase": "test", "length": length, "exact": mean_of(results["hit"]), "state_bytes": state}
    row["exact_inside"], row["exact_outside"] = (mean_of(results["hit"][where]) for where in (inside, ~inside))
    for name in ("chunk_recall", "margin", "near_share"):
        if name in results:
            row[name] = mean_of(results[name][results["visible"] > 0] if name == "chunk_recall" else results[name])
    return row


def in_sight(windows: Sequence[int], cfg: RetrievalConfig = DATA, rows: int = 4096) -> pd.DataFrame:
    """By window: the share of training answers whose value lies inside one window, by drawing rows."""
    batch = training_batch(cfg, rows, Generator().manual_seed(0))
    row, place = (batch.evidence >= 0).nonzero(as_tuple=True)
    distance = place - batch.evidence[row, place]
    shares = [float((distance < window).float().mean()) for window in windows]
    return pd.DataFrame({"window": windows, "answers inside the window": shares})
