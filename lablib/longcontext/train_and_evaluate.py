"""A training recipe measured: a curriculum and what steers it, then the model asked near and far.

What the experiments of notebook 02 share. Each is a list of recipes; a recipe has a name, and the arms of one name
differ in the seed alone.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import torch

from lablib.core.config import Config
from lablib.core.seeds import generator, seed_of
from lablib.core.weights_cache import weights_place
from lablib.data.questions import check_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.ablation import each_alone, reading
from lablib.longcontext.adaptive import AdaptiveMix, AdaptiveWindow, LengthBandit, answered
from lablib.longcontext.curriculum import CHAINS, Rows, train_curriculum
from lablib.longcontext.monitor import SeesawMonitor
from lablib.longcontext.retrieval_loss import with_retrieval_loss
from lablib.longcontext.seesaw import ask, exact_and_chunks
from lablib.longcontext.stages import KINDS, Curriculum, Mix, Stage
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.evaluate import budget, forward_flops
from lablib.train.hooks import Hook
from lablib.train.losses import cross_entropy
from lablib.train.schedule import ScheduleConfig

TRAINING = 1  # version of the training here: raise it when the trained weights change
LOCAL = RetrievalConfig(copy_probability=0.5)  # one needle a row; half of the noise repeats what stood 24 tokens before
TWO_SIDED = Mix(retrieval=0.5, plain=0.5)  # half of the loss asks for needles, half for the next token
Steering = Literal["none", "mix", "window", "bandit", "monitor holds", "monitor raises"]


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(Config):
    """One model trained by a recipe, and asked at long lengths (in tokens).

    retrieval_loss    the share of the direct retrieval loss (0: none)
    steering          what acts beside the stages, every `probe_every` steps; `windows` are those of "window"
    probe_lengths     the lengths at which retrieval is watched during training, `probe_questions` at each
    per_token         needles of a training row in proportion to its length (else the same number in every row)
    needles           in the haystack of a question at long lengths, one of them asked for
    ask_top_k         chunks read when asked, each in turn (empty: as at the end of the training)
    """

    recipe: str = "one stage"
    seed: int = 0
    curriculum: Curriculum = Curriculum()
    model: ModelConfig = ModelConfig(vocab=LOCAL.vocab)
    data: RetrievalConfig = LOCAL
    retrieval_loss: float = 0.0
    steering: Steering = "none"
    windows: tuple[int, ...] = (8, 16, 32, 64)
    probe_every: int = 120
    probe_lengths: tuple[int, ...] = (64, 4096)
    probe_questions: int = 50
    lengths: tuple[int, ...] = (64, 1024, 16_384, 65_536)
    per_token: bool = False
    needles: int = 1
    ask_top_k: tuple[int, ...] = ()
    haystacks: int = 4
    questions: int = 50  # on each haystack

    scales: ClassVar = {
        "smoke": {
            "curriculum": Curriculum(stages=(Stage(start=0, stop=16),), tokens=256, log_every=2),
            **{"probe_every": 2, "probe_lengths": (64, 128), "probe_questions": 4},
            **{"lengths": (64, 256), "haystacks": 1, "questions": 4},
        },
        "lab": {"haystacks": 2, "questions": 25, "lengths": (64, 4096, 16_384)},
    }
    limits: ClassVar = {"at least 1": "haystacks questions probe_questions probe_every ask_top_k"}

    def faults(self) -> Iterator[tuple[bool, str]]:
        vocab, log_every, shortest = self.data.vocab, self.curriculum.log_every, self.data.length
        yield self.data.haystack == "text", "data.haystack is 'text', which no curriculum reads; use 'synthetic'"
        yield self.model.vocab != vocab, f"model.vocab is {self.model.vocab}, but the data has {vocab} token ids"
        logged = f"but a row is logged every {log_every} steps only; set it to a multiple"
        yield self.probe_every % log_every, f"probe_every is {self.probe_every}, {logged}"
        asked = f"lengths {self.lengths} and {self.probe_lengths}"
        yield not (self.lengths and self.probe_lengths), f"{asked}: expected at least one each"
        yield min(self.lengths + self.probe_lengths) < shortest, f"{asked} begin below {shortest} tokens"
        # what the end of the training needs is refused now, not then
        yield from row_faults(self.rows(), self.curriculum)
        steering(self, self.rows())
        with_retrieval_loss(self.retrieval_loss)
        self.model.state_bytes(shortest)
        check_questions(self.data, min(self.lengths), num_needles=self.needles)
        if asks_chains(self):
            check_questions(self.data.replace(**CHAINS), min(self.lengths), num_needles=CHAINS["num_pairs"])

    def rows(self) -> Rows:
        """What draws the rows of the training."""
        return Rows(self.data, per_token=self.per_token)


def row_faults(rows: Rows, curriculum: Curriculum) -> Iterator[tuple[bool, str]]:
    """The stages with rows that cannot be drawn; raises ValueError for the rows of a length."""
    for number, stage in enumerate(curriculum.stages):
        for length in stage.lengths:
            uneven = f"stages[{number}].lengths has {length}, which does not divide the {curriculum.tokens} tokens"
            yield curriculum.tokens % length != 0, f"{uneven} of a batch; batches would differ in tokens"
            halves = f"stages[{number}].lengths has {length}, but a row and its copy have an even number of tokens"
            yield stage.mix.copied > 0 and length % 2 == 1, halves
            try:
                rows.needles(length)
                if stage.mix.copied:
                    rows.needles(length // 2)
                if stage.mix.reasoning:
                    rows.needles(length).replace(**CHAINS)
            except ValueError as error:
                raise ValueError(f"stages[{number}] has rows of {length} tokens: {error}") from error


def stages_to(total: int, *parts: tuple[float, dict[str, Any]]) -> tuple[Stage, ...]:
    """Stages over `total` steps: each part is its share of them and its fields."""
    ends = np.cumsum([0.0] + [share for share, _ in parts])
    if not math.isclose(ends[-1], 1):
        raise ValueError(f"the shares {[share for share, _ in parts]} sum to {ends[-1]:g}, not to 1")
    steps = pairwise(round(total * end) for end in ends)
    return tuple(Stage(start=start, stop=stop, **part) for (_, part), (start, stop) in zip(parts, steps, strict=True))


def curriculum_at(scale: str, total: int, *parts: tuple[float, dict[str, Any]], **fields: Any) -> Curriculum:
    """The curriculum of a recipe: `total` steps at full and lab scale, a handful at smoke scale."""
    if scale != "smoke":
        return Curriculum(stages=stages_to(total, *parts), **fields)
    brief = []
    for share, part in parts:
        lengths = tuple(min(length, 128) for length in part.get("lengths", (64,)))
        brief.append((share, part | {"lengths": lengths, "transition_steps": min(part.get("transition_steps", 0), 2)}))
    schedule = fields.get("schedule", ScheduleConfig()).replace(warmup=2)
    return Curriculum(stages=stages_to(16, *brief), **fields | {"tokens": 256, "log_every": 2, "schedule": schedule})


def train_and_ask(cfg: RecipeConfig) -> pd.DataFrame:
    """The table of one recipe: phase "train" by step, "heldout" by length of the training, "test" by length.

    A run whose loss is no longer finite is a result, not an error: its rows say `diverged` 1 and hold no answers.
    """
    model, rows = LanguageModel(cfg.model, generator("weights", cfg.seed)), cfg.rows()
    other = {"lengths": (max(64, cfg.data.length),), "haystacks": 1, "questions": 1}  # is no part of the training
    place = weights_place("longcontext/recipe", TRAINING, cfg.replace(**other).digest())
    steers, objective = steering(cfg, rows), with_retrieval_loss(cfg.retrieval_loss)
    more = {"hooks": steers, "checkpoint": place, "objective": objective}
    try:
        table = train_curriculum(model, cfg.curriculum, rows, generator("training", cfg.seed), **more)
    except FloatingPointError:
        return pd.DataFrame([{"phase": "test", "length": length, "diverged": 1.0} for length in cfg.lengths])
    return measured(model, cfg, table.assign(phase="train"))


def measured(model: LanguageModel, cfg: RecipeConfig, *tables: pd.DataFrame) -> pd.DataFrame:
    """The tables of a training (the last one by logged step), the model asked near and far, and what it took."""
    flops = train_flops(model, cfg, tables[-1])
    columns = budget(model, tokens=cfg.curriculum.steps * cfg.curriculum.tokens, flops=flops)
    columns |= {"diverged": 0.0, "train_answers": train_answers(cfg)}
    return pd.concat([*tables, ask_everything(model.eval(), cfg)], ignore_index=True).assign(**columns)


def steering(cfg: RecipeConfig, rows: Rows) -> list[Hook]:
    """The hooks of a recipe: what steers, and the monitor, which watches every run."""
    seed, every = seed_of("probe", cfg.seed), cfg.probe_every
    act = {"monitor holds": "hold", "monitor raises": "raise"}.get(cfg.steering, "warn")
    hooks: dict[str, Hook] = {
        "mix": AdaptiveMix(rows, every, seed),
        "window": AdaptiveWindow(rows, cfg.windows, every, seed),
        "bandit": LengthBandit(rows, every, seed),
        "monitor": SeesawMonitor(rows, cfg.probe_lengths, every, seed, questions=cfg.probe_questions, act=act),
    }
    return [hooks[name] for name in (cfg.steering, "monitor") if name in hooks]


def ask_everything(model: LanguageModel, cfg: RecipeConfig) -> pd.DataFrame:
    """Held-out rows of every training length, and questions at every length, by the chunks that may be read."""
    trained = sorted({length for stage in cfg.curriculum.stages for length in stage.lengths})
    rows: list[dict[str, Any]] = [{"phase": "heldout", "length": n, **answered_near(model, cfg, n)} for n in trained]
    for top_k in cfg.ask_top_k or (model.top_k,):
        asked = {"phase": "test", "asked_top_k": top_k}
        with reading(model, model.window, top_k):
            rows += [{**asked, "length": length, **answered_far(model, cfg, length)} for length in cfg.lengths]
    return pd.DataFrame(rows)


@torch.no_grad()
def answered_near(model: LanguageModel, cfg: RecipeConfig, length: int) -> dict[str, float]:
    """At a training length: loss of the next token on plain rows; accuracy of answers, also of each circuit alone."""
    random, rows, found = generator("held out", cfg.seed), cfg.rows(), []
    for _ in range(2 * cfg.haystacks):
        plain = rows.source("plain", length)(max(1, 2048 // length), random)
        row = {"local_loss": float(cross_entropy(model(plain.tokens), plain.targets, plain.weight))}
        asked = rows.source("retrieval", length)(32, random)
        row |= each_alone(model, lambda asked=asked: answered(model, asked))
        row["accuracy"] = answered(model, asked)
        if asks_chains(cfg):
            row["accuracy_reasoning"] = answered(model, rows.source("chains", length)(32, random))
        found.append(row)
    return {name: float(np.mean([row[name] for row in found])) for name in found[0]}


def answered_far(model: LanguageModel, cfg: RecipeConfig, length: int) -> dict[str, float]:
    """Exact recall at a length and how often the needle's chunk is chosen; chains too, where they were trained."""

    def asked(data: RetrievalConfig, needles: int) -> dict[str, float]:
        random = generator("questions", cfg.seed)
        return exact_and_chunks(ask(model, data, length, cfg.haystacks, cfg.questions, random, num_needles=needles))

    found = {"state_bytes": float(model.cfg.replace(window=model.window).state_bytes(length))}
    found |= asked(cfg.data, cfg.needles)
    if asks_chains(cfg):
        found["exact_reasoning"] = asked(cfg.data.replace(**CHAINS), CHAINS["num_pairs"])["exact"]
    return found


def asks_chains(cfg: RecipeConfig) -> bool:
    """Whether any stage trains on chains."""
    return any(stage.mix.reasoning > 0 for stage in cfg.curriculum.stages)


def train_answers(cfg: RecipeConfig) -> float:
    """Questions in the training as the stages draw them; NaN where something else decides what is drawn."""
    if cfg.steering in ("mix", "bandit", "monitor raises"):
        return math.nan
    rows, total = cfg.rows(), 0.0
    for stage in cfg.curriculum.stages:
        shares = dict(zip(KINDS, np.array(stage.mix.weights) / sum(stage.mix.weights), strict=True))
        for length, weight in zip(stage.lengths, np.array(stage.weights) / sum(stage.weights), strict=True):
            a_row = shares["retrieval"] * rows.needles(length).num_pairs + shares["reasoning"]
            total += weight * (stage.stop - stage.start) * (cfg.curriculum.tokens // length) * a_row
    return total


@torch.no_grad()
def train_flops(model: LanguageModel, cfg: RecipeConfig, table: pd.DataFrame) -> float:
    """FLOPs of the training, counted at the window, top-k and length of each logged step; backward twice forward."""
    total = 0.0
    for (window, top_k, length), number in table.groupby(["window", "top_k", "row_length"]).size().items():
        with reading(model, int(window), int(top_k)):
            flops = forward_flops(model, cfg.curriculum.tokens // int(length), int(length))
        total += 3 * number / len(table) * cfg.curriculum.steps * flops
    return total
