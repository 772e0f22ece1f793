"""What the compiler makes of a kernel for sm_90 (Hopper), on any machine with Triton: no GPU and no driver is needed.

`python -m labkernels.compiled [NAME]...` prints the facts of the production configurations (by default all; with
`--corners` those of the smallest and largest operands that are taken) as JSON, in a process without the interpreter:
instructions, those of tensor cores, registers, bytes of stack (spills) and of shared memory. They are facts of the
program: no path, clock or debug information plays a part.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from labkernels.runtime import INTERPRETING, Tiles

SHARED_LIMIT = 232_448  # bytes of shared memory that a block may have on sm_90
TYPES = {"fp16": 2, "bf16": 2, "fp32": 4}


@dataclass(frozen=True)
class Build:
    """A kernel as it is launched: types of its pointers and numbers, its constants, its tiles."""

    name: str
    kernel: Any
    tiles: Tiles
    pointers: dict[str, str]  # argument -> element type
    constants: dict[str, Any]
    floats: tuple[str, ...] = ("scale",)
    unaligned: tuple[str, ...] = field(default=())  # integers that are not multiples of 16


def facts(build: Build) -> dict[str, Any]:
    """Compile and count. Raises RuntimeError in a process with the interpreter: it has no compiler."""
    if INTERPRETING:
        raise RuntimeError("this process runs Triton's interpreter (TRITON_INTERPRET=1); compile in one without it")
    names = build.kernel.arg_names
    signature = {name: _type(build, name) for name in names}
    constants = {(names.index(name),): value for name, value in build.constants.items()}
    aligned = {
        (i,): [["tt.divisibility", 16]]
        for i, name in enumerate(names)
        if name in build.pointers or (signature[name] == "i32" and name not in build.unaligned)
    }
    source = ASTSource(fn=build.kernel, signature=signature, constexprs=constants, attrs=aligned)
    options = {"num_warps": build.tiles.warps, "num_stages": build.tiles.stages}
    made = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    code = instructions(made.asm["ptx"])
    return {
        "kernel": build.name,
        "tiles": f"{build.tiles.queries} x {build.tiles.keys}",
        "warps": build.tiles.warps,
        "stages": build.tiles.stages,
        "wgmma": sum("wgmma.mma_async" in line for line in code),
        "mma": sum(re.search(r"\bmma\.sync", line) is not None for line in code),
        **_resources(made.asm["cubin"]),
        "shared": made.metadata.shared,
        "instructions": len(code),
    }


def instructions(ptx: str) -> list[str]:
    """The instructions of a program: without directives, labels, comments, and what a debugger is told of its files."""
    lines = (line.partition("//")[0].strip() for line in ptx.splitlines())
    return [line for line in lines if line.endswith(";") and not line.startswith(".")]


def _type(build: Build, name: str) -> str:
    if name in build.constants:
        return "constexpr"
    if name in build.pointers:
        return "*" + build.pointers[name]
    return "fp32" if name in build.floats else "i32"


def _resources(cubin: bytes) -> dict[str, int]:
    """Registers a thread and bytes of stack, as cuobjdump of Triton's own wheel reports them."""
    tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        shown = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    return {
        name: int(re.search(rf"{label}:(\d+)", shown.rpartition("Function")[2]).group(1))
        for name, label in (("registers", "REG"), ("stack", "STACK"))
    }


def builds() -> Iterator[Build]:
    """The production configuration of every kernel, in bf16 with heads of 64 and 128."""
    from labkernels.distillation import builds as distillation
    from labkernels.hsa import builds as hsa
    from labkernels.swa import builds as swa

    yield from swa.builds()
    yield from hsa.builds()
    yield from distillation.builds()


def corners() -> Iterator[Build]:
    """The configurations at the limits of what kernels take."""
    from labkernels.distillation import builds as distillation
    from labkernels.hsa import builds as hsa
    from labkernels.swa import builds as swa

    yield from swa.corners()
    yield from hsa.corners()
    yield from distillation.corners()


if __name__ == "__main__":
    wanted = sys.argv[1:]
    found = corners() if wanted == ["--corners"] else (b for b in builds() if not wanted or b.name in wanted)
    json.dump([facts(build) for build in found], sys.stdout, indent=1)
