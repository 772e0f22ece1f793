"""A whole lab of its own in a git checkout, with one experiment that takes no time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from lablib.core.store import PROJECT

from .conftest import PATIENCE

EXPERIMENTS = '''\
"""A tiny subject."""

import dataclasses
import os
import time

import pandas as pd

from lablib.core.config import Config, grid
from lablib.core.experiment import experiment
from lablib.core.store import lab_home


@dataclasses.dataclass(frozen=True, kw_only=True)
class TinyConfig(Config):
    """A number."""

    number: int = 0


def arms(scale):
    return grid(TinyConfig(), number=range(NUMBERS))


def counted(cfg):
    return {"work": 2 * cfg.number, "share": FACTOR / 3 * cfg.number}


@experiment("longcontext/tiny", version=1, arms=arms, counted=counted)
def tiny(cfg: TinyConfig) -> pd.DataFrame:
    if cfg.number == int(os.environ.get("BREAK", -1)):
        raise ValueError("as asked")
    table = pd.DataFrame({"square": [cfg.number**2], "length": [2**20 + cfg.number]})
    place = f"models/{cfg.number}.safetensors"
    table["third"] = cfg.number / 3 + float(os.environ.get("SKEW", 0))
    table["note"] = "a model of before" if (lab_home() / place).exists() else "from nothing"
    table["work_seconds"] = time.process_time()
    (lab_home() / "models").mkdir(parents=True, exist_ok=True)
    (lab_home() / place).write_bytes(b"weights %d" % cfg.number)
    table.attrs = {"checkpoint": place, "keep_checkpoint": cfg.number == 1, "corpus": str(lab_home())}
    return table
'''
FIGURES = '''\
"""Its figure."""

import plotly.graph_objects as go


def tiny_figure(table):
    return go.Figure(go.Scatter(x=table["number"], y=table["square"]))
'''


def experiments(numbers: int = 3, factor: int = 1) -> str:
    """The source of the subject's experiment."""
    return EXPERIMENTS.replace("NUMBERS", str(numbers)).replace("FACTOR", str(factor))


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def make_checkout(root: Path) -> Path:
    """A git checkout with this core, app and viz, and a subject with one tiny experiment."""
    for part in ("core", "app", "viz"):
        shutil.copytree(PROJECT / "lablib" / part, root / "lablib" / part, ignore=shutil.ignore_patterns("__pycache__"))
    subject = root / "lablib" / "longcontext"
    subject.mkdir()
    for path in (root / "lablib" / "__init__.py", subject / "__init__.py"):
        path.touch()
    (subject / "experiments.py").write_text(experiments())
    (subject / "figures").mkdir()
    (subject / "figures" / "tiny.py").write_text(FIGURES)
    (root / ".gitignore").write_text(".lab/\n__pycache__/\n")
    git(root, "init", "--quiet")
    git(root, "add", ".")
    git(root, "commit", "--quiet", "-m", "a tiny lab")
    return root


def lab(project: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    """Exit code and text of a command of that checkout's own `lab`."""
    done = subprocess.run(
        [sys.executable, "-m", "lablib.app.cli", *arguments],
        cwd=project,
        env=os.environ | {"PYTHONPATH": str(project), "PYTHONDONTWRITEBYTECODE": "1"} | environ,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout + done.stderr
