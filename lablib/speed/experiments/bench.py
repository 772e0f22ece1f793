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
from lablib.speed.checking import FARTHEST, error_of
from lablib.speed.providers import PROVIDERS, operands
from lablib.speed.timing import ceilings, one_thread, seconds
from lablib.speed.work import Mode, Operator, Shape, work

MOST_HELD = {"cpu": 1 << 27, "cuda": 1 << 31}  # numbers: 0.5 GiB in 32 bits, 4 GiB in 16


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
        "lab": {"repeats": 3, "shape": Shape(heads=4, kv_heads=1, time=1024, window=128, top_k=4)},
    }

    def __post_init__(self):
        super().__post_init__()
        known = PROVIDERS[self.operator]
        if self.provider not in known:
            raise ValueError(f"provider is {self.provider!r}; of {self.operator} there are {', '.join(known)}")
        if self.mode != "forward" and self.operator == "selection":
            raise ValueError("the selection has no backward: its indices have no gradient")


def bench_arms(scale: str) -> list[BenchConfig]:
    """What a CPU can run, from 1 024 tokens on; matrices of time x time end at 4 096. In seconds at lab scale.

    Beyond 16 384 tokens, where causal attention takes half a minute, chosen chunks alone, forward, fewer times.
    """
    cfg = BenchConfig.at(scale)
    if scale != "full":
        return on_shapes(cfg, [cfg.shape], seeds=1)
    shape = Shape(heads=4, kv_heads=1)
    long = cfg.replace(operator="chosen chunks", provider="by chunk", shape=shape.replace(time=65_536), repeats=2)
    shapes = grid(shape, time=(1024, 2048, 4096, 8192, 16_384))
    return on_shapes(cfg, shapes, seeds=3) + grid(long, provider=("by chunk", "causal SDPA"), seed=range(3))


def gpu_arms(scale: str) -> list[BenchConfig]:
    """In bf16, 16 heads: of 64 from 2 048 to 65 536 tokens; wider ones, and one key head for all, at 16 384.

    Of chosen chunks the two kernels alone ("ours" is one of them, and which is a rule that may change): torch's ways
    loop over chunks, or copy them, and take up to seconds a call.
    """
    if scale != "full":
        shape = BenchConfig.at("smoke").shape.replace(kv_heads=2, dim=64)
        return grid(BenchConfig.at("smoke", shape=shape), provider=("banded", "causal SDPA"))
    cfg = BenchConfig.at("full", device="cuda", dtype="bfloat16", repeats=20)
    shapes = grid(Shape(), time=(2048, 8192, 16_384, 65_536))
    shapes += [Shape(dim=128, time=16_384), Shape(kv_heads=1, time=16_384)]
    kernels = ("ours, query-major", "ours, chunk-major", "causal SDPA")
    arms = sorted(on_shapes(cfg, shapes, seeds=3), key=lambda arm: arm.seed)  # what comes first is whole first
    return [arm for arm in arms if arm.operator != "chosen chunks" or arm.provider in kernels]


def on_shapes(cfg: BenchConfig, shapes: list[Shape], seeds: int) -> list[BenchConfig]:
    """Every provider that the device has, both ways where there are two, on the shapes that it can hold."""
    arms = []
    for operator, providers in PROVIDERS.items():
        modes: tuple[Mode, ...] = ("forward",) if operator == "selection" else ("forward", "forward and backward")
        for name in providers:
            for shape in shapes:
                like = cfg.replace(operator=operator, provider=name, shape=shape)
                fits = [mode for mode in modes if fitting(operator, name, mode, shape, cfg.device)]
                arms += grid(like, mode=fits, seed=range(seeds)) if fits else []
    return arms


def fitting(operator: Operator, name: str, mode: Mode, shape: Shape, device: str) -> bool:
    """Whether the device has the provider, and the memory for the numbers that it holds beside its operands."""
    if PROVIDERS[operator][name].needs_gpu and device == "cpu":
        return False
    copies = 2 * shape.batch * shape.kv_heads * shape.time * shape.top_k * shape.chunk * shape.dim
    held = {
        "the definition": shape.batch * shape.heads * shape.time**2,
        "SDPA with a dense mask": shape.batch * shape.heads * shape.time**2,
        "gather, then SDPA": copies,
        "gathered": copies if mode != "forward" else copies // 16,  # block by block; for gradients all are kept
    }
    if operator == "selection":
        held["the definition"] = shape.batch * shape.kv_heads * shape.time * (shape.time // shape.chunk)
    return held.get(name, 0) <= MOST_HELD[device]


def measure(cfg: BenchConfig) -> pd.DataFrame:
    """One row: seconds (median, 20th and 80th percentile), the error, the work, and the two ceilings.

    Correct first: RuntimeError for a provider that is further from the definition than its type allows.
    """
    device, dtype = torch.device(cfg.device), getattr(torch, cfg.dtype)
    if cfg.device == "cuda" and not torch.cuda.is_available():
        raise RuntimeError("this arm times a GPU, and there is none here")
    provider = PROVIDERS[cfg.operator][cfg.provider]
    checked = (cfg.operator, provider, cfg.mode, cfg.shape, device, dtype, cfg.seed)
    error = error_of(*checked) if provider.same else float("nan")
    if provider.same and not error <= FARTHEST[cfg.dtype]:  # NaN is not near either
        said = f"its error is {error:.1e}, allowed {FARTHEST[cfg.dtype]}"
        raise RuntimeError(f"{cfg.provider} is not {cfg.operator}: {said}")
    inputs = operands(cfg.operator, cfg.shape, device, dtype, cfg.seed)
    compute = provider.make(cfg.shape)
    call = torch.no_grad()(lambda: compute(*inputs)) if cfg.mode == "forward" else both_ways(compute, inputs)
    with one_thread():
        spent, best = seconds(call, device, cfg.repeats), ceilings(device, dtype)
    least = work(cfg.operator, cfg.mode, cfg.shape, cfg.dtype)
    row = {
        "seconds": spent.median, "low_seconds": spent.low, "high_seconds": spent.high,
        "error": error, "same_work": provider.same,
        "flops": least.flops, "bytes": least.bytes, "gathered_bytes": least.gathered,
        "flops_per_second": best.flops, "bytes_per_second": best.bytes,
        "floor_seconds": max(least.flops / best.flops, least.bytes / best.bytes),
    }  # fmt: skip
    table = pd.DataFrame([row])
    if cfg.device == "cuda":
        table.attrs |= {"gpu": torch.cuda.get_device_name(device), "cuda": torch.version.cuda}
    return table


bench = experiment("speed/bench", version=3, arms=bench_arms)(measure)
gpu = experiment("speed/gpu", version=1, arms=gpu_arms, needs_gpu=True)(measure)


def both_ways(compute, inputs: tuple[Tensor, ...]):
    """The output and the gradients of all operands that have one."""
    inputs = tuple(x.requires_grad_() if x.is_floating_point() else x for x in inputs)
    learnt = [x for x in inputs if x.requires_grad]
    with torch.no_grad():
        upstream = torch.randn_like(compute(*inputs))
    return lambda: torch.autograd.grad(compute(*inputs), learnt, upstream, allow_unused=True)
