"""What a student gains from probabilities in place of tokens, on a language whose probabilities are known.

`efficiency/distillation_rates`  the learning rate of each way to teach, on other languages than those reported
`efficiency/distillation`        by training tokens: hard labels, the language, a trained teacher, half and half
`efficiency/temperature`         by the temperature of the labels
`efficiency/teachers`            by how much the teacher has read
`efficiency/top_k`               by how many of the teacher's probabilities are stored, with the remainder and without

Directions, written before the runs: the notebook's log.
"""

import math
from typing import Any

import pandas as pd
import torch

from lablib.core.config import by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.measure import count_flops
from lablib.efficiency.distillation import (
    DistillationConfig,
    Teaching,
    excess_of,
    trained_student,
    written,
)
from lablib.nn.model import LanguageModel
from lablib.train.evaluate import budget, mean_where

TUNING = 100  # the first seed of the arms that rates are chosen by
TRIED = (1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2)
TOKENS = (1000, 4000, 16_000)
WAYS: dict[str, dict[str, Any]] = {
    "CE": {"labels": "tokens"},
    "KD from the language": {"labels": "language"},
    "KD from a teacher": {"labels": "teacher"},
    "half KD, half CE": {"labels": "teacher", "share": 0.5},
}


def way(name: str, scale: str, rate: float, **changes: Any) -> DistillationConfig:
    """An arm by its name and what is different."""
    return DistillationConfig.at(scale, name=name).replace(train__optim__lr=rate, **changes)


def spent(cfg: DistillationConfig) -> dict[str, float | int]:
    """The budget columns of the student's training, the teacher's forward passes included, its own training not."""
    student = LanguageModel(cfg.student)
    teacher = LanguageModel(cfg.teacher.model).eval().requires_grad_(False)
    few = cfg.replace(tokens=cfg.length, labels="tokens")
    teaching = Teaching(few, student, None)
    with torch.enable_grad():
        flops = count_flops(
            lambda: teaching(student, teaching.draw(cfg.train.batch, cfg.stream("noise")))[0].backward()
        )
    if cfg.labels in ("teacher", "own text"):
        tokens = torch.zeros(cfg.train.batch, cfg.length, dtype=torch.long)
        passes = count_flops(lambda: teacher(tokens))
        flops += passes + (count_flops(lambda: student(tokens)) if cfg.labels == "own text" else 0)
    return budget(student, tokens=cfg.train.steps * cfg.train.batch * cfg.length, flops=cfg.train.steps * flops)


def taught(cfg: DistillationConfig) -> pd.DataFrame:
    """Phase "train": by step, the loss and how far the student is from the language. Phase "read": at the end.

    `excess_teacher` is the teacher's own distance, `agreement` the share of positions with one most probable token;
    `own_nats`: the language's surprise at what the student writes, `entropy` (nats) how varied that is.
    """
    student, teacher, table = trained_student(cfg)
    excess = excess_of(cfg)
    read = excess.read(student)
    if teacher is not None:
        read["excess_teacher"] = excess.read(teacher)["excess"]
        batch = excess.held_out["excess"][0]
        with torch.no_grad():
            same = (teacher(batch.tokens).argmax(-1) == student(batch.tokens).argmax(-1)).float()
        read["agreement"] = mean_where(same, batch.weight > 0)
    own = written(student, cfg.rows, cfg.length, cfg.stream("noise"))
    with torch.no_grad():
        truth = cfg.spoken().log_probabilities(own.tokens).gather(-1, own.targets[..., None])[..., 0]
        mine = student(own.tokens).log_softmax(-1)
    read["own_nats"] = -mean_where(truth, own.weight > 0)
    read["entropy"] = mean_where(-(mine.exp() * mine).sum(-1), own.weight > 0)
    return pd.concat([table.assign(phase="train"), pd.DataFrame([read]).assign(phase="read")], ignore_index=True)


def scale_of_distances(seeds: int = 5) -> str:
    """In words: how surprising the language's own text is, and how far uniform probabilities are from it."""
    entropies = []
    for seed in range(seeds):
        cfg = DistillationConfig(seed=seed)
        batch = cfg.spoken()(cfg.length, cfg.rows, cfg.stream("held-out rows"))
        known = cfg.spoken().log_probabilities(batch.tokens)
        entropies.append(mean_where(-(known.exp() * known).sum(-1), batch.weight > 0))
    own, vocab = sum(entropies) / seeds, DistillationConfig().language.vocab
    said = f"The language's own text has {own:.2f} nats a token. "
    return said + f"Uniform probabilities are {math.log(vocab) - own:.2f} nats above the language."


# the best of `efficiency/distillation_rates` by way and tokens; hard labels are stopped at their best step
_BEST = {
    "CE": (1e-3, 1e-3, 6.4e-2),
    "KD from the language": (1e-3, 6.4e-2, 6.4e-2),
    "KD from a teacher": (6.4e-2, 6.4e-2, 6.4e-2),
    "half KD, half CE": (6.4e-2, 6.4e-2, 6.4e-2),
}
RATES = {(name, tokens): rate for name, rates in _BEST.items() for tokens, rate in zip(TOKENS, rates, strict=True)}


def rates_arms(scale: str) -> list[DistillationConfig]:
    """Each way at each number of tokens at seven rates; three seeds of other languages."""
    ways = [way(name, scale, 8e-3, first_seed=TUNING, tokens=n, **how) for name, how in WAYS.items() for n in TOKENS]
    arms = [arm for cfg in ways for arm in grid(cfg, train__optim__lr=TRIED)]
    return by_scale(scale, arms, lab=1, smoke=1, seeds=3)


def distillation_arms(scale: str) -> list[DistillationConfig]:
    """Each way at each number of tokens, at its best rate."""
    arms = [way(name, scale, RATES[name, n], tokens=n, **how) for n in TOKENS for name, how in WAYS.items()]
    return by_scale(scale, arms, lab=(4, 5, 6), smoke=(0, 6))


def temperature_arms(scale: str) -> list[DistillationConfig]:
    """From a trained teacher at 4,000 tokens."""
    rate = RATES["KD from a teacher", 4000]
    arms = [way(f"temperature {t:g}", scale, rate, temperature=t) for t in (0.5, 1.0, 2.0, 4.0, 8.0)]
    return by_scale(scale, arms, lab=(1, 3), smoke=1)


def teachers_arms(scale: str) -> list[DistillationConfig]:
    """Teachers that have read as much as the student, 4, 16 times as much, and fresh rows in every step."""
    rate = RATES["KD from a teacher", 4000]
    arms = [way(f"{n:,} tokens", scale, rate, teacher__tokens=n) for n in (4000, 16_000, 64_000)]
    arms += [way("fresh rows", scale, rate, teacher__tokens=0)]
    return by_scale(scale, arms, lab=(0, 3), smoke=1)


def top_k_arms(scale: str) -> list[DistillationConfig]:
    """1 to 8 stored probabilities of 24, with the remainder and without; and all."""
    rate = RATES["KD from a teacher", 4000]
    arms = [
        way(f"top {k}, {'with' if kept else 'without'} the remainder", scale, rate, top=k, remainder=kept)
        for k in (1, 2, 4, 8)
        for kept in (True, False)
    ]
    return by_scale(scale, [*arms, way("all", scale, rate)], lab=(2, 3, 8), smoke=1)


distillation_rates = experiment("efficiency/distillation_rates", version=1, arms=rates_arms, counted=spent)(taught)
distillation = experiment("efficiency/distillation", version=1, arms=distillation_arms, counted=spent)(taught)
temperature = experiment("efficiency/temperature", version=1, arms=temperature_arms, counted=spent)(taught)
teachers = experiment("efficiency/teachers", version=1, arms=teachers_arms, counted=spent)(taught)
top_k = experiment("efficiency/top_k", version=1, arms=top_k_arms, counted=spent)(taught)
