"""What each provider of an operator costs, beside what it would cost at best on the same machine, in the same process.

`speed/bench`   on a CPU, one thread: the lab's torch versions, torch's own attention, the definition
`speed/gpu`     on a GPU: the Triton kernels against those and compiled flex_attention
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import pandas as pd
import torch
from torch import Tensor

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.speed.providers import PROVIDERS, Provider, operands
from lablib.speed.timing import ceilings, seconds
from lablib.speed.work import Mode, Operator, Shape, work

CHECKED = 300  # tokens of the text on which a provider is checked, against the definition in double precision
FARTHEST = {"float32": 1e-4, "float16": 5e-3, "bfloat16": 4e-2}  # root mean square of the error over that of the truth
MOST_HELD = {"cpu": 1 << 27, "cuda": 1 << 33}  # numbers that a provider may hold beside its operands (or move, a CPU)


@dataclass(frozen=True, kw_only=True)
class BenchConfig(Config):
    """One provider on one shape; the median of `repeats` calls counts."""

    operator: Operator = "sliding window"
    provider: str = "banded"
    mode: Mode = "forward"
    shape: Shape = Shape()
    device: Literal["cpu", "cuda"] = "cpu"
    dtype: Literal["float32", "float16", "bfloat16"] = "float32"
    repeats: int = 5
    seed: int = 0

    scales: ClassVar = {
        "smoke": {"repeats": 1, "shape": Shape(heads=2, kv_heads=1, time=64, dim=16, window=16, chunk=16, top_k=2)},
        "lab": {"repeats": 3},
    }

    def __post_init__(self):
        super().__post_init__()
        known = PROVIDERS[self.operator]
        if self.provider not in known:
            raise ValueError(f"provider is {self.provider!r}; of {self.operator} there are {', '.join(known)}")
        if self.mode != "forward" and self.operator == "selection":
            raise ValueError("the selection has no backward: its indices have no gradient")


def bench_arms(scale: str) -> list[BenchConfig]:
    """What a CPU can run, from 1 024 tokens on; matrices of time x time end at 4 096."""
    cfg = BenchConfig.at(scale)
    if scale == "smoke":
        shapes = [cfg.shape]
    else:
        shapes = grid(Shape(heads=4, kv_heads=1), time=(1024, 4096, 16_384) if scale == "full" else (1024, 4096))
    return on_shapes(cfg, shapes, seeds=3 if scale == "full" else 1)


def gpu_arms(scale: str) -> list[BenchConfig]:
    """In bf16, heads of 64 and 128, from 2 048 to 65 536 tokens."""
    if scale != "full":
        return bench_arms("smoke")[:1]
    cfg = BenchConfig.at("full", device="cuda", dtype="bfloat16", repeats=50)
    shapes = [
        Shape(time=time, dim=dim, kv_heads=kv_heads)
        for dim, kv_heads in ((64, 16), (128, 16), (64, 1))
        for time in (2048, 8192, 16_384, 65_536)
    ]
    return on_shapes(cfg, shapes, seeds=3)


def on_shapes(cfg: BenchConfig, shapes: list[Shape], seeds: int) -> list[BenchConfig]:
    """Every provider that the device has, both ways where there are two, on the shapes that it can hold."""
    arms = []
    for operator, providers in PROVIDERS.items():
        modes = ("forward",) if operator == "selection" else ("forward", "forward and backward")
        for name, provider in providers.items():
            fits = [shape for shape in shapes if fitting(name, provider, shape, cfg.device)]
            like = cfg.replace(operator=operator, provider=name)
            arms += grid(like, shape=fits, mode=modes, seed=range(seeds)) if fits else []
    return arms


def fitting(name: str, provider: Provider, shape: Shape, device: str) -> bool:
    """Whether the device has the provider, and a small machine the memory."""
    if provider.needs_gpu and device == "cpu":
        return False
    held = {
        "the definition": shape.batch * shape.heads * shape.time**2,
        "SDPA with a dense mask": shape.batch * shape.heads * shape.time**2,
        "gather, then SDPA": shape.batch * shape.kv_heads * shape.time * shape.top_k * shape.chunk * shape.dim,
        "gathered": shape.batch * shape.kv_heads * shape.time * shape.top_k * shape.chunk * shape.dim // 16,
    }
    return held.get(name, 0) <= MOST_HELD[device]


@experiment("speed/bench", version=1, arms=bench_arms)
def bench(cfg: BenchConfig) -> pd.DataFrame:
    """One row: seconds (median, 20th and 80th percentile), the error, the work, and the two ceilings."""
    return measure(cfg)


@experiment("speed/gpu", version=1, arms=gpu_arms, needs_gpu=True)
def gpu(cfg: BenchConfig) -> pd.DataFrame:
    """The same as `speed/bench`, where there is a GPU."""
    return measure(cfg)


def measure(cfg: BenchConfig) -> pd.DataFrame:
    """Correct first: RuntimeError for a provider that is further from the definition than its type allows."""
    device, dtype = torch.device(cfg.device), getattr(torch, cfg.dtype)
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this arm times a GPU, and there is none here")
    provider = PROVIDERS[cfg.operator][cfg.provider]
    error = error_of(cfg, provider, device, dtype) if provider.same else float("nan")
    if provider.same and not error <= FARTHEST[cfg.dtype]:  # NaN is not near either
        raise RuntimeError(
            f"{cfg.provider} is not {cfg.operator}: its error is {error:.1e}, allowed {FARTHEST[cfg.dtype]}"
        )
    inputs = operands(cfg.operator, cfg.shape, device, dtype, cfg.seed)
    compute = provider.make(cfg.shape)
    call = forward(compute, inputs) if cfg.mode == "forward" else both_ways(compute, inputs)
    spent, best = seconds(call, device, cfg.repeats), ceilings(device, dtype)
    least = work(cfg.operator, cfg.mode, cfg.shape, cfg.dtype)
    return pd.DataFrame(
        [
            {
                "seconds": spent.median,
                "low_seconds": spent.low,
                "high_seconds": spent.high,
                "error": error,
                "same_work": provider.same,
                "flops": least.flops,
                "bytes": least.bytes,
                "gathered_bytes": least.gathered,
                "flops_per_second": best.flops,
                "bytes_per_second": best.bytes,
                "floor_seconds": max(least.flops / best.flops, least.bytes / best.bytes),
            }
        ]
    )


def error_of(cfg: BenchConfig, provider: Provider, device: torch.device, dtype: torch.dtype) -> float:
    """Relative to the definition, in double precision on a CPU, on a short text of the same heads."""
    shape = cfg.shape.replace(time=min(cfg.shape.time, CHECKED), window=min(cfg.shape.window, CHECKED // 3))
    inputs = operands(cfg.operator, shape, device, dtype, cfg.seed)
    names = {"selection": "block by block"}
    definition = PROVIDERS[cfg.operator][names.get(cfg.operator, "the definition")].make(shape)
    exact = (x.cpu().double() if x.is_floating_point() else x.cpu() for x in inputs)
    with torch.no_grad():
        truth = definition(*exact)
        found = provider.make(shape)(*inputs).cpu().double()
    width = min(truth.shape[-1], found.shape[-1])  # of a selection one may list empty slots that another leaves out
    truth, found = (x[..., -width:].masked_fill(x[..., -width:] == -torch.inf, 0.0) for x in (truth, found))
    return float((found - truth).square().mean().sqrt() / truth.square().mean().sqrt().clamp_min(0.1))


def forward(compute, inputs: tuple[Tensor, ...]):
    """The output alone."""

    def call() -> Tensor:
        with torch.no_grad():
            return compute(*inputs)

    return call


def both_ways(compute, inputs: tuple[Tensor, ...]):
    """The output and the gradients of all operands that have one."""
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in inputs)
    learnt = [x for x in inputs if x.requires_grad]
    with torch.no_grad():
        upstream = torch.ones_like(compute(*inputs))
    return lambda: torch.autograd.grad(compute(*inputs), learnt, upstream, allow_unused=True)
