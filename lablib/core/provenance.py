"""Where a number was made: commit, versions, machine, instruction sets."""

import contextlib
import functools
import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from lablib.core.checkout import RESULTS, Unknown, changes, own_commit
from lablib.core.cores import core_count

PACKAGES = ("torch", "triton", "numpy", "pandas")
# Sums are added up in an order that depends on the width of the registers. These settings hold torch's own kernels,
# MKL and oneDNN to what every x86-64-v3 processor has, so that all of them give the same bits.
PINS = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2,STRICT", "ONEDNN_MAX_CPU_ISA": "AVX2"}


def pinned(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment whose processes use the instruction sets of `PINS`, where the processor has them.

    A setting that is already in `environ` stays. They count for a process that has not imported torch yet.
    """
    return (PINS if "avx2" in _wide_instructions() else {}) | dict(environ)


def provenance() -> dict[str, Any]:
    """Commit and dirty flag, versions, processor and the time now (UTC); nothing that names a person or a path.

    The two are None where they are not known: a folder without git, or a repository that is not the lab's own.
    """
    return _fixed_facts() | {"instructions": instructions(), "finished": now()}


def now() -> str:
    """The time, in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def instructions() -> dict[str, str | None]:
    """What decides the last bits of a sum: what torch uses, what MKL and oneDNN are held to, what the processor has.

    torch's is None in a process without torch, those of MKL and oneDNN are None where they may use all there is.
    """
    torch = sys.modules.get("torch")
    return {
        "torch": torch.backends.cpu.get_cpu_capability() if torch else None,
        "mkl": os.environ.get("MKL_CBWR"),
        "onednn": os.environ.get("ONEDNN_MAX_CPU_ISA"),
        "processor": " ".join(_wide_instructions()),
    }


def same_instructions(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool | None:
    """Whether the arms of two provenances were made with the same instruction sets; None where one does not say."""
    first, second = one.get("instructions"), two.get("instructions")
    if first is None or second is None:
        return None
    held = first["mkl"] and first["onednn"]  # then what else the processor has is not used
    return all(first[name] == second[name] for name in first if name != "processor" or not held)


@functools.cache
def _fixed_facts() -> dict[str, Any]:
    code: dict[str, Any] = {"commit": None, "dirty": None}
    with contextlib.suppress(Unknown):
        code["commit"] = own_commit()
        code["dirty"] = bool(changes(untracked=False, besides=RESULTS))  # recording itself changes those
    return code | {
        "python": platform.python_version(),
        **{name: package_version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _cpuinfo("model name") or platform.processor() or "unknown",
        "device": "cpu",
        "cores": core_count(),
    }


def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@functools.cache
def _wide_instructions() -> list[str]:
    """The vector instruction sets of the processor, from AVX on; empty where the system does not list them."""
    return sorted(flag for flag in _cpuinfo("flags").split() if flag.startswith(("avx", "fma", "amx")))


def _cpuinfo(name: str) -> str:
    """The first value of that name that Linux lists, or an empty string."""
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith(name))
    except (OSError, StopIteration):
        return ""
