"""The seesaw (arXiv 2511.23319, section 4): windows, controls, the other side, ablations, and the tuning of both ends.

`longcontext/seesaw` trains on short rows and asks at long lengths. `longcontext/tuning` is the same measurement over
learning rates, widths and initialisations at both end windows: does the ranking hang on how the model was tuned?
"""

import functools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pandas as pd
import torch
from torch import Generator

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.core.measure import count_flops, num_parameters
from lablib.core.store import lab_home
from lablib.core.weights_cache import weights_place
from lablib.data.batch import Batch
from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.data.text import standard_library
from lablib.longcontext.seesaw import RetrievalProbe, answer_questions, mean_where
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.loop import TrainConfig, fit
from lablib.train.losses import cross_entropy

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
            "lengths": (64, 256),
            "haystacks": 1,
            "questions": 4,
        },
        "lab": {"haystacks": 2, "questions": 30},
        "full": {},
    }

    def __post_init__(self):
        super().__post_init__()
        if min(self.lengths, default=self.data.length) < self.data.length:
            raise ValueError(f"lengths {self.lengths} begin below the training length {self.data.length}")
        if self.model.vocab != self.data.vocab:
            raise ValueError(
                f"model.vocab is {self.model.vocab}, but the data has {self.data.vocab} token ids; set it to that"
            )


def train_seesaw(cfg: SeesawConfig) -> tuple[LanguageModel, pd.DataFrame, Path]:
    """The trained model of an arm, its training table, and its checkpoint below the store; resumes what is there."""
    place = weights_place("longcontext/seesaw", TRAINING, cfg.replace(lengths=(), haystacks=1, questions=1).digest())
    model = LanguageModel(cfg.model, Generator().manual_seed(cfg.seed))
    table = fit(
        model,
        functools.partial(draw_rows, cfg, "train"),
        cfg.train,
        Generator().manual_seed(10_000 + cfg.seed),
        hooks=[RetrievalProbe()],
        checkpoint=place,
    )
    if table.empty or int(table["step"].iloc[-1]) != cfg.train.steps:
        raise RuntimeError(f"training of {place.name} ended early")
    return model.eval(), table, place


def draw_rows(cfg: SeesawConfig, split: str, batch: int, generator: Generator) -> Batch:
    """A batch of training rows of the arm's task; `split` of the text where the haystack is text."""
    text = standard_library(split).tokens if cfg.data.haystack == "text" else None
    return training_batch(cfg.data, batch, generator, text, answers_only=cfg.objective == "answers")


def seesaw_arms(scale: str) -> list[SeesawConfig]:
    """The arms of a scale: the windows, the controls, the other side of the seesaw, and the ablations."""
    base = SeesawConfig.at(scale)
    if scale == "smoke":
        return (
            grid(base, model__window=[8, 64], seed=range(2))
            + grid(base, model__plan=["swa swa"], seed=[0])
            + grid(
                base.replace(objective="tokens", data__copy_probability=0.5, lengths=(64,)),
                model__window=[8, 64],
            )
        )
    if scale == "lab":
        return grid(base, model__window=[8, 64], seed=range(2))
    return [*window_arms(base), *control_arms(base), *local_arms(base), *ablation_arms(base)]


def window_arms(base: SeesawConfig) -> list[SeesawConfig]:
    """Claims a, b and d: windows from one chunk to the whole row; ten seeds at the ends, to a million for one chunk."""
    far = base.replace(lengths=MILLION)
    return [
        *grid(far, model__window=[8], seed=range(10)),
        *grid(base, model__window=[16, 32, 48, 56], seed=range(5)),
        *grid(base, model__window=[64], seed=range(10)),
    ]


def control_arms(base: SeesawConfig) -> list[SeesawConfig]:
    """Claim e: no retrieval, full attention, and retrieval whose scores get no gradient or whose read has RoPE."""
    plain = base.replace(lengths=tuple(n for n in base.lengths if n <= 4096))  # the cost grows with the square
    return [
        *grid(base, model__plan=["swa swa"], model__window=[8, 64], seed=range(5)),
        *grid(plain, model__plan=["full full", "full-nope full-nope"], seed=range(5)),
        *grid(base, model__fusion=["concat"], seed=range(5)),
        *grid(base, model__hsa_rope=[True], seed=range(5)),
    ]


def local_arms(base: SeesawConfig) -> list[SeesawConfig]:
    """Claim c: every next token counts; a haystack with a local component, and the real text."""
    local = base.replace(objective="tokens", lengths=(64,), data__copy_probability=0.5, train__steps=1200)
    return [
        *grid(local, model__window=[8, 16, 32, 64], seed=range(5)),
        *grid(over_text(local.replace(data__copy_probability=0.0)), model__window=[8, 16, 32, 64], seed=range(5)),
    ]


def over_text(base: SeesawConfig) -> SeesawConfig:
    """The same on the bytes of the standard library's sources instead of the synthetic haystack."""
    data = base.data.replace(haystack="text")
    return base.replace(data=data, model__vocab=data.vocab)


def ablation_arms(base: SeesawConfig) -> list[SeesawConfig]:
    """One thing changed at both end windows: five seeds for the initialisation, else three (exploratory)."""
    ends = {"model__window": [8, 64], "seed": range(3)}
    return [
        *grid(base.replace(model__retrieval_init="ordinary"), model__window=[8, 64], seed=range(5)),
        *grid(base.replace(model__landmark="mean"), **ends),
        *grid(base.replace(model__fusion="stick-breaking"), **ends),
        *grid(base.replace(model__bypass=False), **ends),
        *grid(base.replace(data__num_pairs=2), **ends),
        *grid(base.replace(data__num_pairs=6), **ends),
        *grid(over_text(base), **ends),
    ]


def tuning_arms(scale: str) -> list[SeesawConfig]:
    """Both end windows: three learning rates with either initialisation, and twice the width with the middle rate."""
    base = SeesawConfig.at(scale)
    if scale != "full":
        ends = {"model__window": [8, 64], "seed": range(2 if scale == "lab" else 1)}
        return grid(base, train__optim__lr=[2e-3] if scale == "smoke" else [2e-3, 8e-3], **ends)
    ends = {"model__window": [8, 64], "seed": range(5)}
    base = base.replace(lengths=(64, 1024, 16_384))
    inits = ("identity", "ordinary")
    return [
        *grid(base, model__retrieval_init=inits, train__optim__lr=[2e-3, 4e-3, 8e-3], **ends),
        *grid(base, model__width=[64], **ends),
    ]


@experiment("longcontext/seesaw", version=1, arms=seesaw_arms)
def seesaw(cfg: SeesawConfig) -> pd.DataFrame:
    """Train one model and measure it: rows with phase "train" by step, "heldout" once, and "test" by length."""
    table = train_and_test(cfg)
    plain = SeesawConfig(lengths=cfg.lengths).replace(model__window=cfg.model.window)
    table.attrs["keep_checkpoint"] = cfg == plain and cfg.model.window in (8, 64)
    return table


@experiment("longcontext/tuning", version=1, arms=tuning_arms)
def tuning(cfg: SeesawConfig) -> pd.DataFrame:
    """The same as `longcontext/seesaw`."""
    return train_and_test(cfg)


def train_and_test(cfg: SeesawConfig) -> pd.DataFrame:
    """The table of one model: training by step, held-out loss at the training length, questions by length."""
    model, training, place = train_seesaw(cfg)
    budget = {
        "parameters": num_parameters(model),
        "train_tokens": cfg.train.steps * cfg.train.batch * cfg.data.length,
        "train_flops": 3 * cfg.train.steps * forward_flops(model, cfg),  # backward is twice the forward
    }
    rows = [{"phase": "heldout", "length": cfg.data.length, **_held_out(model, cfg)}]
    text = standard_library("held-out").tokens if cfg.data.haystack == "text" else None
    if cfg.objective == "answers":
        rows += [_test(model, cfg, length, text) for length in cfg.lengths]
    table = pd.concat([training.assign(phase="train", length=cfg.data.length), pd.DataFrame(rows)], ignore_index=True)
    table = table.assign(**budget)
    table.attrs["checkpoint"] = place.relative_to(lab_home()).as_posix()
    if text is not None:
        table.attrs["corpus"] = standard_library("held-out").corpus
    return table


def forward_flops(model: LanguageModel, cfg: SeesawConfig) -> int:
    """FLOPs of one forward pass over a training batch."""
    tokens = torch.zeros(cfg.train.batch, cfg.data.length, dtype=torch.long)
    with torch.no_grad():
        return count_flops(lambda: model(tokens))


@torch.no_grad()
def _held_out(model: LanguageModel, cfg: SeesawConfig, batches: int = 16) -> dict[str, float]:
    """In-domain loss and accuracy on fresh rows of the training length."""
    generator = Generator().manual_seed(20_000 + cfg.seed)
    losses, accuracies = [], []
    for _ in range(batches):
        batch = draw_rows(cfg, "held-out", cfg.train.batch, generator)
        logits = model(batch.tokens)
        losses.append(float(cross_entropy(logits, batch.targets, batch.weight)))
        accuracies.append(mean_where((logits.argmax(-1) == batch.targets).float(), batch.evidence >= 0))
    return {"loss": float(np.mean(losses)), "accuracy": float(np.mean(accuracies))}


def _test(model: LanguageModel, cfg: SeesawConfig, length: int, text: torch.Tensor | None) -> dict[str, float | str]:
    """Questions at one length, averaged; exact recall also inside and outside the stacked reach."""
    generator = Generator().manual_seed(30_000 + cfg.seed)
    parts = [answer_questions(model, cfg.data, length, cfg.questions, generator, text) for _ in range(cfg.haystacks)]
    results = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    hit, inside = results["hit"], results["distance"] <= model.reach
    row = {"phase": "test", "length": length, "exact": float(hit.mean()), "state_bytes": cfg.model.state_bytes(length)}
    row["exact_inside"], row["exact_outside"] = _mean(hit[inside]), _mean(hit[~inside])
    for name in ("chunk_recall", "margin", "near_share"):
        if name in results:
            values = results[name][results["visible"] > 0] if name == "chunk_recall" else results[name]
            row[name] = _mean(values[~np.isnan(values)])
    return row


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan
