"""One text, step by step: what the fast weights learn from it, for the explorer of notebook 03.

A trained TTT-E2E (that of `ttt/context`, seed 0) reads one held-out text of `RowMixture` with several chunks and
multiples of its own inner rate. Beside the loss of each chunk: how far the fast weights have moved, and what the model
now predicts after a few tokens, without anything before them.
"""

from dataclasses import dataclass
from typing import ClassVar

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.data.languages import Language
from lablib.ops.fast_weights import Fast
from lablib.ttt.experiments.context import context_arms
from lablib.ttt.peers import PeerConfig, build, train
from lablib.ttt.reading import Carry, TTTModel

PREVIOUS = (0, 1, 2, 3)  # tokens after which the prediction is watched


@dataclass(frozen=True, kw_only=True)
class TraceConfig(Config):
    """`peer` reads held-out text number `seed` in chunks of `chunk` tokens, at `factor` times its own inner rate."""

    seed: int = 0
    peer: PeerConfig = PeerConfig()
    chunk: int = 16
    factor: float = 1.0
    length: int = 256

    scales: ClassVar = {"smoke": {"length": 32}, "lab": {}}


def trace_arms(scale: str) -> list[TraceConfig]:
    """Three chunks, four multiples of the rate, three texts."""
    peer = next(cfg for cfg in context_arms(scale) if cfg.name == "TTT-E2E")
    cfg = TraceConfig.at(scale, peer=peer)
    return grid(cfg, chunk=(4, 8, 16), factor=(0.0, 0.3, 1.0, 3.0), seed=range(3)) if scale == "full" else [cfg]


@experiment("ttt/trace", version=1, arms=trace_arms)
def trace(cfg: TraceConfig) -> pd.DataFrame:
    """A row a chunk: loss, best possible loss, |W - W_0| / |W_0|, and `p_i_j`: the chance of j after i, so far."""
    model = build(cfg.peer)
    train(cfg.peer, model)
    rate = float(model.rate().detach()) * cfg.factor
    inner = cfg.peer.inner.replace(chunk=cfg.chunk, rate=rate, learned=False, order="first")
    reader, known = TTTModel(model.decoder, inner).eval(), Language(cfg.peer.language)
    batch = known(cfg.length, cfg.seed + 1, Generator().manual_seed(20_000 + cfg.peer.seed))
    tokens, targets = batch.tokens[cfg.seed :], batch.targets[cfg.seed :]
    best = known.bayes(tokens, targets)
    with torch.no_grad():
        hidden, _ = reader.read_lower(tokens)
        start = reader.fast_weights(1)
        carry, rows = Carry(start, None), []
        for at in range(0, cfg.length, cfg.chunk):
            piece = slice(at, at + cfg.chunk)
            before = {"start": at, "moved": moved(carry.fast, start), **predictions(reader, carry.fast)}
            reading, carry = reader.read_chunk(carry, hidden[:, piece], targets[:, piece], learn=True)
            losses = {"loss": float(reading.losses.mean()), "best": float(best[:, piece].mean())}
            rows.append({**before, **losses, "tokens": " ".join(map(str, tokens[0, piece].tolist()))})
    return pd.DataFrame(rows)


def moved(fast: Fast, start: Fast) -> float:
    """|W - W_0| / |W_0| over all fast weights."""
    far = sum((fast[name] - start[name]).square().sum() for name in start)
    return float((far / sum(weight.square().sum() for weight in start.values())).sqrt())


def predictions(model: TTTModel, fast: Fast) -> dict[str, float]:
    """The probability of each token after each of PREVIOUS standing alone."""
    previous = torch.tensor(PREVIOUS)[:, None]
    hidden, _ = model.read_lower(previous)
    weights = {name: weight.expand(len(PREVIOUS), *weight.shape[1:]) for name, weight in fast.items()}
    logits, _ = model.run_upper(weights, hidden, None)
    chances = F.softmax(logits[:, -1], -1)
    return {
        f"p_{i}_{j}": round(float(chances[row, j]), 4)
        for row, i in enumerate(PREVIOUS)
        for j in range(chances.shape[1])
    }
