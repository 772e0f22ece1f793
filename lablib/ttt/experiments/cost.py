"""What reading and learning cost: a token by its place in the text, a training step, and the memory of many chunks.

`ttt/cost`     CPU seconds to prefill and to decode a token behind 512 to 131 072 others (arXiv 2512.23675, figure 1);
               a long prefix is a cache of random numbers, so that one chunk is timed and not the whole prefill
`ttt/steps`    CPU seconds and FLOPs of an outer step, by chunk and order, beside the plain step of the same model
`ttt/memory`   peak memory and time of an outer step by chunks and checkpoint group: memory falls to the square root
"""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lablib.core.config import Config, by_scale, grid
from lablib.core.experiment import experiment
from lablib.core.measure import count_flops, forget_peak_memory, in_fresh_process, peak_memory, timed
from lablib.core.seeds import generator
from lablib.data.batch import every_next
from lablib.nn.attention import Attention, Buffer, FullCache, WindowCache
from lablib.nn.model import LanguageModel, LayerStates, State, state_bytes
from lablib.nn.plan import ModelConfig
from lablib.train.losses import next_token_loss
from lablib.ttt.baselines import BASE
from lablib.ttt.decode import begin, feed
from lablib.ttt.e2e import InnerConfig, TTTModel, meta_loss
from lablib.ttt.train_and_evaluate import SANDWICH

# MLPs as wide as the model: wider ones would hide what attention costs behind short texts
WIDE = SANDWICH.replace(vocab=256, width=256, hidden=256, prime=256, num_heads=4, window=128)
PLANS = {"full attention": "full full full full+prime", "sliding window": WIDE.plan, "TTT-E2E": WIDE.plan}


@dataclass(frozen=True, kw_only=True)
class CostConfig(Config):
    """A model at one place of a text: `length` tokens stand before what is timed, the median of `repeats`."""

    name: str = "TTT-E2E"
    seed: int = 0
    model: ModelConfig = WIDE
    inner: InnerConfig = InnerConfig(chunk=128, order="first")
    length: int = 512
    repeats: int = 15

    scales: ClassVar = {"smoke": {"repeats": 2}, "lab": {"repeats": 5}}
    limits: ClassVar = {"at least 1": "length repeats"}


@dataclass(frozen=True, kw_only=True)
class StepConfig(Config):
    """Forward and backward on `batch` texts of `length` tokens; order "none" is the model without its inner loop."""

    seed: int = 0
    model: ModelConfig = BASE
    order: Literal["exact", "first", "none"] = "exact"
    chunk: int = 16
    batch: int = 16
    length: int = 256
    repeats: int = 7

    scales: ClassVar = {"smoke": {"batch": 2, "length": 32, "repeats": 1}, "lab": {"repeats": 3}}
    limits: ClassVar = {"at least 1": "chunk batch length repeats"}


@dataclass(frozen=True, kw_only=True)
class MemoryConfig(Config):
    """An outer step on `chunks` chunks of 8 tokens; `group` chunks to a checkpoint (0: none)."""

    seed: int = 0
    model: ModelConfig = SANDWICH.replace(plan="swa+prime", width=64, hidden=64, prime=256, window=8, vocab=16)
    chunks: int = 16
    group: int = 0
    batch: int = 4

    scales: ClassVar = {"smoke": {"batch": 1}}
    limits: ClassVar = {"at least 1": "chunks batch", "at least 0": "group"}


def cost_arms(scale: str) -> list[CostConfig]:
    """Three models at nine lengths, three times."""
    lengths = [2**i for i in range(9, 18)] if scale == "full" else [512, 4096]
    models = [CostConfig.at(scale, name=name).replace(model__plan=plan) for name, plan in PLANS.items()]
    return by_scale(scale, [arm for cfg in models for arm in grid(cfg, length=lengths)], seeds=3)


def steps_arms(scale: str) -> list[StepConfig]:
    """The plain step, then first order and exact by chunk, three times."""
    cfg = StepConfig.at(scale)
    arms = [*grid(cfg, order=("none", "first")), *grid(cfg, chunk=(16, 8, 4, 1))]
    return by_scale(scale, arms, lab=3, seeds=3)


def memory_arms(scale: str) -> list[MemoryConfig]:
    """From 16 to 256 chunks, without checkpoints and with groups of 1 to 32, three times."""
    chunks, groups = ((16, 64, 256), (0, 1, 2, 4, 8, 16, 32)) if scale == "full" else ((4,), (0, 2))
    return by_scale(scale, grid(MemoryConfig.at(scale), chunks=chunks, group=groups), seeds=3)


@experiment("ttt/cost", version=4, arms=cost_arms)
def cost(cfg: CostConfig) -> pd.DataFrame:
    """One row: CPU seconds a token, prefilled and decoded, and the bytes kept for a text of this length."""
    base = LanguageModel(cfg.model, generator("weights", cfg.seed)).eval()
    random = generator("training", cfg.seed)
    states = states_behind(base, cfg.length, random)
    model = TTTModel(base, cfg.inner).eval() if cfg.name == "TTT-E2E" else None
    size = cfg.inner.chunk
    tokens = torch.randint(cfg.model.vocab, (1, size + 1), generator=random)
    with torch.no_grad():
        calls = timed_calls(base, model, states, tokens)
        prefill, decode, *learn = [median_seconds(call, cfg.repeats) for call in calls]
    if learn:  # the upper blocks read a decoded chunk once more, to learn it: paid by all its tokens
        decode += learn[0] / size
    kept = state_bytes(states) + (4 * model.num_fast if model is not None else 0)
    return pd.DataFrame([{"prefill_seconds": prefill / size, "decode_seconds": decode, "state_bytes": kept}])


def states_behind(base: LanguageModel, length: int, generator: Generator) -> LayerStates:
    """Caches as they are after `length` tokens, of random numbers."""
    heads, dim = base.cfg.num_heads, base.cfg.width // base.cfg.num_heads
    found = []
    for block in base.blocks:
        (mixer,) = (residual.part for residual in block.mixers)
        if not isinstance(mixer, Attention):
            raise TypeError(f"a cache of random numbers is made for attention, not for {type(mixer).__name__}")
        kept = length if mixer.full else min(length, base.window - 1)
        keys, values = (torch.randn(1, heads, kept, dim, generator=generator) for _ in range(2))
        if not mixer.full:
            found.append([WindowCache(keys, values)])
            continue
        room = (0, 0, 0, 2048)  # as after a prefill that left room
        found.append([FullCache(Buffer(F.pad(keys, room), F.pad(values, room), kept), kept)])
    return found


def timed_calls(
    base: LanguageModel, model: TTTModel | None, states: LayerStates, tokens: Tensor
) -> list[Callable[[], object]]:
    """Prefill of one more chunk, learnt from if there is a model with an inner loop; one more token, whose chunk is
    not complete; with an inner loop also the step on a chunk that the lower blocks have read already.
    """
    chunk, token, targets = tokens[:, :-1], tokens[:, :1], tokens[:, 1:]
    if model is None:
        return [lambda tokens=tokens: base.read(tokens, State(0, rewound(states))) for tokens in (chunk, token)]
    lower, upper = states[: model.first], states[model.first :]
    before = begin(model, 1)
    carry = before.carry._replace(states=upper)
    progress = before._replace(lower=lower, now=upper, carry=carry)
    hidden, _ = model.read_lower(chunk)
    return [
        lambda: model.read_chunk(carry, model.read_lower(chunk, lower)[0], targets, learn=True),
        lambda: feed(model, progress, token),
        lambda: model.read_chunk(carry, hidden, targets, learn=True),
    ]


def rewound(states: LayerStates) -> LayerStates:
    """The same caches, ready to be written behind again: what was appended since is overwritten."""
    for (state,) in states:
        if isinstance(state, FullCache):
            state.buffer.used = state.seen
    return states


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Median CPU seconds of a call, after one that does not count."""
    call()
    return statistics.median(timed(call)[1] for _ in range(repeats))


def training_step(cfg: StepConfig) -> Callable[[], None]:
    """A step, forward and backward, of the model with its initial values on random texts."""
    model: LanguageModel | TTTModel = LanguageModel(cfg.model, generator("weights", cfg.seed))
    objective = next_token_loss
    if cfg.order != "none":
        model, objective = TTTModel(model, InnerConfig(chunk=cfg.chunk, order=cfg.order)), meta_loss
    tokens = torch.randint(cfg.model.vocab, (cfg.batch, cfg.length + 1), generator=generator("training", cfg.seed))
    rows = every_next(tokens)
    return lambda: objective(model, rows)[0].backward()


def step_flops(cfg: StepConfig) -> dict[str, float]:
    """FLOPs of a step."""
    return {"step_flops": float(count_flops(training_step(cfg)))}


@experiment("ttt/steps", version=1, arms=steps_arms, counted=step_flops)
def steps(cfg: StepConfig) -> pd.DataFrame:
    """One row: median CPU seconds of a step, forward and backward; its FLOPs are counted."""
    return pd.DataFrame([{"step_seconds": median_seconds(training_step(cfg), cfg.repeats)}])


@experiment("ttt/memory", version=2, arms=memory_arms)
def memory(cfg: MemoryConfig) -> pd.DataFrame:
    """One row: peak MiB of an outer step above what stood before it, and its CPU seconds; in a fresh process."""
    return pd.DataFrame([in_fresh_process(outer_step, cfg)])


def outer_step(cfg: MemoryConfig) -> dict[str, float]:
    """Forward and backward of one outer step, the second of its process."""
    torch.set_num_threads(1)
    model = TTTModel(LanguageModel(cfg.model, generator("weights", cfg.seed)), InnerConfig(chunk=8, group=cfg.group))
    for chunks in (2, cfg.chunks):
        random = generator("training", cfg.seed)
        rows = every_next(torch.randint(cfg.model.vocab, (cfg.batch, 8 * chunks + 1), generator=random))
        forget_peak_memory()
        before = peak_memory()
        _, spent = timed(lambda rows: meta_loss(model, rows)[0].backward(), rows)
        found = {"peak_megabytes": (peak_memory() - before) / 2**20, "step_seconds": spent}
    return {**found, "fast_bytes": 4.0 * model.num_fast * cfg.batch}
