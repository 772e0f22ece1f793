"""`lab record`: full-scale arms computed from a worktree of the committed code, and written to notebooks/results/."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from lablib.app import processes
from lablib.app.errors import BadInput
from lablib.app.pipeline import TICK, caught_signals
from lablib.core.provenance import pinned
from lablib.core.store import PROJECT

RESULTS = "notebooks/results"


def record(experiments: Sequence[str], *, images: bool, partial: bool, workers: int) -> int:
    """Record the experiments (all by default); the exit code: 0 all recorded, 1 not, 128 + n stopped by signal n."""
    refuse_unless_clean(PROJECT)
    with caught_signals() as caught, worktree(PROJECT) as tree:
        job = {"tree": str(tree), "experiments": list(experiments), "images": images, "partial": partial}
        where = {"home": PROJECT / ".lab" / "record", "code": tree}
        code = in_child("lablib.app.recording", job, caught, workers=workers, **where)
        if caught:
            print("\nstopped; what is finished is kept: run `lab record` again, or with --partial to write only that")
        return code


def in_child(
    module: str, job: dict[str, Any], caught: list[int], *, home: Path, workers: int, code: Path = PROJECT
) -> int:
    """Do a job by a module of the lablib in `code`, until its end or a signal, and end it whole.

    Its processes have a store at `home`, a thread each, and the same instruction sets. The exit code: 0 where the
    child ended well, else 1, or 128 + n where signal n stopped it. Raises BadInput with what it refused.
    """
    own = {"LAB_HOME": str(home), "LAB_WORKERS": str(workers), "OMP_NUM_THREADS": "1", "LAB_INTERACTIVE": "0"}
    job = job | {"results": str(PROJECT / RESULTS), "workers": workers, "live": sys.stdout.isatty()}
    environ = pinned(os.environ) | own
    child = processes.start(module, job, mark=f"{module} {code} {home}", environ=environ, code=code, quiet=False)
    try:
        while not child.ended() and not caught:
            time.sleep(TICK)
    finally:
        child.stop()
        refusals = [message["refused"] for message in child.read() if "refused" in message]
        child.close()
    if refusals:
        raise BadInput(refusals[0])
    return 128 + caught[0] if caught else int(child.process.returncode != 0)


def refuse_unless_clean(project: Path) -> None:
    """BadInput unless all code is committed: what is recorded must be what anyone can check out."""
    try:
        changed = _git(project, "status", "--porcelain", "--", ".", f":(exclude){RESULTS}").splitlines()
    except OSError:
        raise BadInput("`lab record` needs git; install it") from None
    except subprocess.CalledProcessError:
        raise BadInput("`lab record` needs a git checkout; git clone the lab") from None
    if changed:
        first = ", ".join(line[3:] for line in changed[:3]) + (", ..." if len(changed) > 3 else "")
        raise BadInput(f"`lab record` records committed code only; commit or stash first: {first}")


def commit_of(project: Path, name: str) -> str:
    """The full hash of a commit; BadInput for one that is not there."""
    try:
        return _git(project, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").strip()
    except (OSError, subprocess.CalledProcessError):
        raise BadInput(f"there is no commit {name!r} in this checkout; git fetch, or name another") from None


@contextlib.contextmanager
def worktree(project: Path, commit: str = "HEAD") -> Iterator[Path]:
    """A checkout of a commit in a temporary folder, gone afterwards; BadInput where git makes none."""
    folder = Path(tempfile.mkdtemp(prefix="lab-record-")).resolve()
    tree = folder / "tree"
    try:
        _git(project, "worktree", "add", "--quiet", "--detach", str(tree), commit)
        yield tree
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split()) or "it does not say why"
        raise BadInput(f"a git worktree of {commit} is needed, and git made none: {reason}") from None
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            _git(project, "worktree", "remove", "--force", str(tree))
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(subprocess.CalledProcessError):
            _git(project, "worktree", "prune")


def _git(project: Path, *arguments: str) -> str:
    # a commit hook that calls `lab record` would hand its own repository on
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    how = {"capture_output": True, "text": True, "check": True, "timeout": 120}
    return subprocess.run(["git", *arguments], cwd=project, env=environ, **how).stdout
