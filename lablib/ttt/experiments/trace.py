"""One text, step by step: what the fast weights learn from it, for the explorer of notebook 03.

A trained TTT-E2E (that of `ttt/context`, seed 0) reads one held-out text of `RowMixture` with several chunks and
multiples of its own inner rate.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.data.languages import Language
from lablib.ops.fast_weights import Fast
from lablib.ttt.e2e import Carry, TTTModel
from lablib.ttt.experiments.context import context_arms
from lablib.ttt.train_and_evaluate import RunConfig, build, train

WATCHED = 3  # tokens after which the prediction is watched: the most frequent ones of the text


@dataclass(frozen=True, kw_only=True)
class TraceConfig(Config):
    """`run` reads held-out text number `seed` in chunks of `chunk` tokens, at `factor` times its own inner rate."""

    seed: int = 0
    run: RunConfig = RunConfig()
    chunk: int = 16
    factor: float = 1.0
    length: int = 256

    scales: ClassVar = {"smoke": {"length": 32}, "lab": {}}
    limits: ClassVar = {"at least 1": "chunk length", "at least 0": "factor"}


def trace_arms(scale: str) -> list[TraceConfig]:
    """Three chunks, four multiples of the rate, three texts."""
    run = next(cfg for cfg in context_arms(scale) if cfg.name == "TTT-E2E")
    cfg = TraceConfig.at(scale, run=run)
    return grid(cfg, chunk=(4, 8, 16), factor=(0.0, 0.3, 1.0, 3.0), seed=range(3)) if scale == "full" else [cfg]


@experiment("ttt/trace", version=2, arms=trace_arms)
def trace(cfg: TraceConfig) -> pd.DataFrame:
    """A row a chunk, before it is read: |W - W_0| / |W_0|, and for each watched token (`watched_i`) and successor j

    `now_i_j` and `first_i_j`, the chance of j by the weights now and at first, and `seen_i_j`, how often j came after
    it so far; then the chunk's loss and the best possible one.
    """
    model = build(cfg.run)
    train(cfg.run, model)
    rate = float(model.rate().detach()) * cfg.factor
    inner = cfg.run.inner.replace(chunk=cfg.chunk, rate=rate, learned=False, order="first")
    reader, known = TTTModel(model.base, inner).eval(), Language(cfg.run.language)
    batch = known(cfg.length, cfg.seed + 1, generator("held out", cfg.run.seed))
    tokens, targets = batch.tokens[cfg.seed :], batch.targets[cfg.seed :]
    best, watched = known.bayes(tokens, targets), most_frequent(tokens[0])
    with torch.no_grad():
        hidden, _ = reader.read_lower(tokens)
        start = reader.fast_weights(1)
        carry, rows = Carry(start, None), []
        for at in range(0, cfg.length, cfg.chunk):
            piece = slice(at, at + cfg.chunk)
            before = {"start": at, "moved": moved(carry.fast, start), **successors(tokens[0, :at], watched)}
            before |= predictions(reader, {"now": carry.fast, "first": start}, tokens[0, :at], watched)
            reading, carry = reader.read_chunk(carry, hidden[:, piece], targets[:, piece], learn=True)
            losses = {"loss": float(reading.losses.mean()), "best": float(best[:, piece].mean())}
            rows.append({**before, **losses, "tokens": " ".join(map(str, tokens[0, piece].tolist()))})
    return pd.DataFrame(rows)


def moved(fast: Fast, start: Fast) -> float:
    """|W - W_0| / |W_0| over all fast weights."""
    far = sum((fast[name] - start[name]).square().sum() for name in start)
    return float((far / sum(weight.square().sum() for weight in start.values())).sqrt())


def most_frequent(text: Tensor) -> list[int]:
    """The tokens that are watched."""
    return text.bincount(minlength=WATCHED).argsort(descending=True, stable=True)[:WATCHED].tolist()


def predictions(model: TTTModel, weights: dict[str, Fast], text: Tensor, watched: list[int]) -> dict[str, float]:
    """The chance of each token after the end of the text and each watched token, by several fast weights."""
    context = text[max(0, len(text) - model.base.window + 1) :]
    rows = torch.cat([context.expand(len(watched), -1), torch.tensor(watched)[:, None]], 1)
    hidden, _ = model.read_lower(rows)
    found = {}
    for name, fast in weights.items():
        each = {key: weight.expand(len(watched), *weight.shape[1:]) for key, weight in fast.items()}
        logits, _ = model.run_upper(each, hidden, None)
        chances = F.softmax(logits[:, -1], -1).tolist()
        found |= {f"{name}_{i}_{j}": round(chance, 3) for i, row in enumerate(chances) for j, chance in enumerate(row)}
    return found


def successors(text: Tensor, watched: list[int], vocab: int = 16) -> dict[str, int]:
    """The watched tokens, and how often each token came after them."""
    pairs = list(pairwise(text.tolist()))
    seen = {f"seen_{i}_{j}": pairs.count((token, j)) for i, token in enumerate(watched) for j in range(vocab)}
    return {f"watched_{i}": token for i, token in enumerate(watched)} | seen
