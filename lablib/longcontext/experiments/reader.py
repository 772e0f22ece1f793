"""The readers of `longcontext/long_range`: small models that match keys, trained on rows of 64 tokens and then of 256.

Six needles a row, each asked for, so that a key has to be matched: one needle a row is found by its kind alone. Half
of the rows have noise drawn at random, half real text. Short rows come first, since the transition to retrieval is
quick where rivals are few; the longer rows after them hold 32 chunks and widen the margin by which a needle wins.
A share of the rows has only needles that a chunk border parts between key and value. One needle in eight of the other
rows does so too; in pilots that was too few: such needles were found in short rows and lost in long ones.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pandas as pd
from safetensors.torch import save

from lablib.core.config import Config, by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.core.store import Record, lab_home, write_atomically
from lablib.core.weights_cache import weights_place
from lablib.data.mixture import Mixture
from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.data.text import standard_library
from lablib.longcontext.seesaw import RetrievalProbe
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.checkpoint import FORMAT, load_model
from lablib.train.evaluate import budget, forward_flops, held_out
from lablib.train.loop import TrainConfig, fit

# as many noise tokens as bytes, so that both haystacks have one vocabulary
TRAINING = 1  # version of the training here: raise it when the trained weights change
DATA = RetrievalConfig(num_noise=256, num_pairs=6)
STOPPED = (400, 900)  # steps of the weaker readers
BORDER = 2  # [MARK k | v ·]: the offset of slots at which every second one lies across the border of a chunk of 8


@dataclass(frozen=True, kw_only=True)
class ReaderConfig(Config):
    """A reader: `train` on rows of `data`, then `more` on rows of `more_length` (None: not trained on)."""

    seed: int = 0
    model: ModelConfig = ModelConfig(vocab=DATA.vocab)
    data: RetrievalConfig = DATA
    text_share: float = 0.5  # of rows in real text
    straddled: float = 0.75  # of rows with slots at the offset where chunk borders part keys from values
    train: TrainConfig = TrainConfig(steps=900)
    more: TrainConfig | None = TrainConfig(steps=900, batch=16)
    more_length: int = 256

    scales: ClassVar = {
        "smoke": {
            "train": TrainConfig(steps=4, batch=4, log_every=2),
            "more": TrainConfig(steps=2, batch=2, log_every=2),
            "more_length": 96,
        }
    }

    def faults(self) -> Iterator[tuple[bool, str]]:
        text, straddled, more, first = self.text_share, self.straddled, self.more_length, self.data.length
        yield not 0 < text < 1, f"text_share is {text}; expected a share between 0 and 1, neither of them"
        yield not 0 <= straddled < 1, f"straddled is {straddled}; expected a share from 0 to less than 1"
        # not equal either: the rows of the second part would share a seed with the held-out ones
        too_short = self.more is not None and more <= first
        yield too_short, f"more_length is {more}, expected more than the {first} tokens of the first rows"
        own, vocabs = self.model.vocab, {source.vocab for source in sources(self.data)}
        yield vocabs != {own}, f"model.vocab is {own}, but the haystacks have {sorted(vocabs)} token ids"
        beyond = straddled > 0 and self.data.offsets <= BORDER
        yield beyond, f"data.offsets is {self.data.offsets}; expected more than {BORDER}: there borders part needles"


def sources(data: RetrievalConfig, length: int | None = None) -> list[RetrievalConfig]:
    """The same rows in both haystacks; in rows of another length the distances grow with it."""
    length = length or data.length
    data = data.replace(length=length, max_distance=data.max_distance + length - data.length)
    return [data.replace(haystack="synthetic"), data.replace(haystack="text")]


def rows_of(cfg: ReaderConfig, length: int, split: str) -> Mixture:
    """Rows of one length from both haystacks, with slots anywhere and at the border; `split` of the text."""
    draws, weights = [], []
    for source, share in zip(sources(cfg.data, length), (1 - cfg.text_share, cfg.text_share), strict=True):
        text = standard_library(split).tokens if source.haystack == "text" else None
        for offset, part in ((None, 1 - cfg.straddled), (BORDER, cfg.straddled)):
            draws.append(functools.partial(training_batch, source, text=text, offset=offset))
            weights.append(share * part)
    return Mixture(draws, weights)


def reader_arms(scale: str) -> list[ReaderConfig]:
    """Five seeds; and weaker readers, which do miss needles: the first part of the training alone, whole and cut."""
    base = ReaderConfig.at(scale)
    weak = grid(base.replace(more=None), train__steps=STOPPED)
    return by_scale(scale, [base, *weak], lab=1, seeds=lambda cfg: 5 if cfg == base else 3)


@experiment("longcontext/reader", version=1, arms=reader_arms)
def reader(cfg: ReaderConfig) -> pd.DataFrame:
    """Train a reader: rows with `part` 1 and 2 by step, counted through both; `heldout_accuracy` after all."""
    model, training, place = train_reader(cfg)
    tokens = sum(part.steps * part.batch * length for part, length in parts(cfg))
    flops = 3 * tokens * forward_flops(model, 1, cfg.data.length) // cfg.data.length
    draw = rows_of(cfg, cfg.data.length, "held-out")
    accuracy = held_out(model, draw, cfg.train.batch, generator("held out", cfg.seed))["accuracy"]
    table = training.assign(heldout_accuracy=accuracy, **budget(model, tokens=tokens, flops=flops))
    table.attrs |= {"corpus": standard_library("train").corpus, "keep_checkpoint": cfg.more is not None}
    table.attrs["checkpoint"] = place.relative_to(lab_home()).as_posix()
    return table


def parts(cfg: ReaderConfig) -> list[tuple[TrainConfig, int]]:
    """The parts of the training, each with the length of its rows."""
    return [(cfg.train, cfg.data.length)] + ([] if cfg.more is None else [(cfg.more, cfg.more_length)])


def train_reader(cfg: ReaderConfig) -> tuple[LanguageModel, pd.DataFrame, Path]:
    """The trained model, its table, and a file with its weights below the store; resumes what is there."""
    model, tables, done = LanguageModel(cfg.model, generator("weights", cfg.seed)), [], 0
    for number, (train, length) in enumerate(parts(cfg), start=1):
        so_far = cfg if number == 2 else cfg.replace(more=None, more_length=cfg.data.length)
        place = weights_place("longcontext/reader", TRAINING, so_far.digest())
        random = generator("training" if number == 1 else "second rows", cfg.seed)
        draw = rows_of(cfg, length, "train")
        table = fit(model, draw, train, random, hooks=[RetrievalProbe()], checkpoint=place)
        tables.append(table.assign(part=number, step=table["step"] + done))
        done += train.steps
    weights = place.with_suffix(".weights.safetensors")  # without the state of the training: a third of the bytes
    tensors = {f"model/{name}": value.contiguous() for name, value in model.state_dict().items()}
    write_atomically(weights, save(tensors, metadata={"json": json.dumps({"format": FORMAT, "run": cfg.digest()})}))
    return model.eval(), pd.concat(tables, ignore_index=True), weights


def reader_of(cfg: ReaderConfig) -> ReaderConfig:
    """The reader that a configuration of another experiment asks."""
    return ReaderConfig(**{field.name: getattr(cfg, field.name) for field in dataclasses.fields(ReaderConfig)})


def trained_reader(cfg: ReaderConfig) -> LanguageModel:
    """The reader of a configuration: the recorded one where its checkpoint is committed, else trained here."""
    cfg = reader_of(cfg)
    recorded = Record().root / "checkpoints" / f"{reader.digest(cfg)}.safetensors"
    if not recorded.exists():
        return train_reader(cfg)[0]
    model = LanguageModel(cfg.model, generator("weights", cfg.seed))
    load_model(recorded, model)
    return model.eval()
