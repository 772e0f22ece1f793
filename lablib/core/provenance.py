"""Where a number was made: commit, versions, machine."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

from lablib.core.store import PROJECT

PACKAGES = ("torch", "triton", "numpy", "pandas")


def provenance() -> dict[str, Any]:
    """Commit and dirty flag, versions, processor and the time now (UTC); nothing that names a person or a path."""
    return _fixed_facts() | {"finished": datetime.now(UTC).isoformat(timespec="seconds")}


@functools.cache
def _fixed_facts() -> dict[str, Any]:
    return {
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        **{name: package_version(name) for name in PACKAGES},
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "device": "cpu",
        "cores": os.cpu_count(),
    }


def package_version(name: str) -> str | None:
    """The installed version of a package, or None."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
