"""What the compiler makes of the kernels for sm_90, on a machine without a GPU: instructions, registers, memory.

`speed/compiled` runs `python -m labkernels.compiled` in a process of its own, because the compiler and the interpreter
exclude each other. Compiling is deterministic; three seeds show that it is.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import ClassVar

import pandas as pd

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment

KERNELS = (
    *("swa forward", "swa dq", "swa dk, dv"),
    *("hsa forward, query-major", "hsa forward, chunk-major", "hsa dq", "hsa dk, dv", "hsa selection"),
)


@dataclass(frozen=True, kw_only=True)
class CompiledConfig(Config):
    """A production configuration, by name; in bf16."""

    kernel: str = KERNELS[0]
    dim: int = 64
    seed: int = 0
    target: str = "sm_90"

    scales: ClassVar = {"smoke": {"dim": 128}, "lab": {}}


def compiled_arms(scale: str) -> list[CompiledConfig]:
    """Every kernel with heads of 64 and of 128, three times; the window's forward at smaller scales."""
    cfg = CompiledConfig.at(scale)
    return grid(cfg, kernel=KERNELS, dim=(64, 128), seed=range(3)) if scale == "full" else [cfg]


# settings of a person that change what the compiler makes, but for those that say where its cache lies
SETTINGS = ("TRITON_", "MLIR_", "LLVM_", "PTXAS_", "DISABLE_PTXAS_OPT", "NVPTX_", "USE_IR_LOC")
KEPT = ("TRITON_HOME", "TRITON_CACHE_DIR")


@experiment("speed/compiled", version=3, arms=compiled_arms)
def compiled(cfg: CompiledConfig) -> pd.DataFrame:
    """One row. RuntimeError where there is no Triton, or the compiler fails."""
    name = f"{cfg.kernel}, dim {cfg.dim}"
    environment = {key: value for key, value in os.environ.items() if key in KEPT or not key.startswith(SETTINGS)}
    environment["TRITON_ALWAYS_COMPILE"] = "1"  # not read from a cache
    command = [sys.executable, "-m", "labkernels.compiled", name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} did not compile: {done.stderr.strip().splitlines()[-1]}")
    found = json.loads(done.stdout)
    if len(found) != 1:
        raise RuntimeError(f"there are {len(found)} configurations called {name!r}; expected 1")
    return pd.DataFrame(found).drop(columns="kernel")
