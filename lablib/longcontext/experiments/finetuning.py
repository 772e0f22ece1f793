"""Does fine-tuning on short rows harm the reach of a model, and what keeps it? (arXiv 2511.23319, limitations)

The model of "short and dense, then wide" goes on with a new schedule, as supervised fine-tuning does, on rows that its
windows cover whole: recall at long lengths is watched while the rows are answered as well as ever. Then the same with
a share of rows in which needles lie beyond the reach of the windows. And both once more after a training that had such
rows itself, as the paper's has: there the short rows are something new.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lablib.core.config import by_scale, grid, later
from lablib.core.experiment import experiment
from lablib.core.seeds import generator
from lablib.core.weights_cache import weights_place
from lablib.longcontext.curriculum import train_curriculum
from lablib.longcontext.experiments.warmup import NARROW, RECIPES, SHORT_DENSE, STEPS, THIRD, WARM, WIDE
from lablib.longcontext.stages import Curriculum, Mix
from lablib.longcontext.train_and_evaluate import RecipeConfig, curriculum_at, measured, row_faults, steering
from lablib.nn.model import LanguageModel
from lablib.nn.tuning import TuningConfig
from lablib.nn.tuning import tuned as tuned_model

TRAINING = 1  # version of the training here: raise it when the trained weights change
BASES: dict[str, tuple[tuple[float, dict[str, Any]], ...]] = {
    "wide": RECIPES["short and dense, then wide"],
    "wide, long rows": ((WARM, SHORT_DENSE), (1 - WARM, THIRD)),
    "narrow": RECIPES["narrow throughout"],
}


@dataclass(frozen=True, kw_only=True)
class FinetuningConfig(RecipeConfig):
    """A recipe that goes on from the end of another: `base` first, then `curriculum` with a fresh optimiser.

    `method` is the way to tune it. `first_seed` is added to the seed: arms with one are what rates are chosen by.
    """

    base: Curriculum = Curriculum()
    first_seed: int = later(0)
    method: TuningConfig = later(TuningConfig(method="full"))

    def faults(self) -> Iterator[tuple[bool, str]]:
        yield from super().faults()
        try:
            yield from row_faults(self.rows(), self.base)
        except ValueError as error:
            raise ValueError(f"base: {error}") from error
        watched = "expected none, or the monitor alone"
        yield self.steering in ("mix", "window", "bandit"), f"steering is {self.steering!r}; {watched}"


def finetuning_arms(scale: str) -> list[FinetuningConfig]:
    """Short rows, with and without needles, shares of long rows, three bases; the narrow model as control."""
    arms = [
        tuned(scale, "short rows", "wide", WIDE),
        tuned(scale, "short rows, no needles", "wide", {**WIDE, "mix": Mix(retrieval=0.0, plain=1.0)}),
        tuned(scale, "a tenth of long rows", "wide", {**THIRD, "length_weights": (0.9, 0.1)}),
        tuned(scale, "a third of long rows", "wide", THIRD),
        tuned(scale, "after long rows: short rows", "wide, long rows", WIDE),
        tuned(scale, "after long rows: a third of long rows", "wide, long rows", THIRD),
        tuned(scale, "narrow window, short rows", "narrow", NARROW),
    ]
    return by_scale(scale, arms, lab=1, smoke=(0, 2))


def tuned(scale: str, name: str, base: str, stage: dict[str, Any]) -> FinetuningConfig:
    """One way to fine-tune one of the BASES, with seed 0."""
    before = curriculum_at(scale, STEPS, *BASES[base])
    probes = {"probe_every": 60, "probe_lengths": (64, 256, 4096, 16_384)} if scale != "smoke" else {}
    cfg = FinetuningConfig.at(scale, recipe=name, base=before, curriculum=curriculum_at(scale, 600, (1.0, stage)))
    return cfg.replace(model__window=stage["window"], **probes)


@experiment("longcontext/finetuning", version=1, arms=finetuning_arms)
def finetuning(cfg: FinetuningConfig) -> pd.DataFrame:
    """Rows with phase "before" and "train" (the fine-tuning) by step, "heldout" and "test" by length, of its end."""
    cfg = cfg.replace(seed=cfg.first_seed + cfg.seed, first_seed=0)
    model, rows = LanguageModel(cfg.model, generator("weights", cfg.seed)), cfg.rows()
    digest = cfg.model.digest(cfg.seed, cfg.data.digest(), cfg.base.digest())
    place = weights_place("longcontext/finetuning", TRAINING, digest)
    train_curriculum(model, cfg.base, rows, generator("training", cfg.seed), checkpoint=place)
    if cfg.method.method != "full":
        model = tuned_model(model, cfg.method, generator("noise", cfg.seed))
    (monitor,) = steering(cfg, rows)
    before: dict[str, float | str] = {"phase": "before", "step": 0}
    monitor.at_eval(cfg.probe_every - 1, model, before)
    table = train_curriculum(model, cfg.curriculum, rows, generator("fine-tuning", cfg.seed), hooks=[monitor])
    return measured(model, cfg, pd.DataFrame([before]), table.assign(phase="train"))


# ---- who forgets to retrieve?


TUNING = 100  # the first seed of the arms that rates are chosen by
METHODS = {
    "full": TuningConfig(method="full"),
    "LoRA": TuningConfig(method="LoRA", count=17),
    "adapters": TuningConfig(method="adapters", count=5),
    "BitFit": TuningConfig(method="BitFit", count=14),
}
TRIED = (2e-3, 8e-3, 3.2e-2)
# the best of `longcontext/forgetting_rates`: the lowest loss on short plain rows
BEST = dict.fromkeys(METHODS, 3.2e-2)


def by_method(scale: str) -> dict[str, FinetuningConfig]:
    """Short rows, on a base with biases."""
    base = tuned(scale, "short rows", "wide", WIDE).replace(model__bias=True)
    return {name: base.replace(recipe=name, method=how) for name, how in METHODS.items()}


def forgetting_rates_arms(scale: str) -> list[FinetuningConfig]:
    """Each method at three rates; three seeds of their own."""
    arms = [cfg.replace(first_seed=TUNING) for cfg in by_method(scale).values()]
    arms = [arm for cfg in arms for arm in grid(cfg, curriculum__optim__lr=TRIED)]
    return by_scale(scale, arms, lab=1, smoke=1, seeds=3)


def forgetting_arms(scale: str) -> list[FinetuningConfig]:
    """Each method at its best rate."""
    arms = [cfg.replace(curriculum__optim__lr=BEST[name]) for name, cfg in by_method(scale).items()]
    return by_scale(scale, arms, lab=(0, 1), smoke=(1,))


forgetting_rates = experiment("longcontext/forgetting_rates", version=1, arms=forgetting_rates_arms)(
    finetuning.function
)
forgetting = experiment("longcontext/forgetting", version=1, arms=forgetting_arms)(finetuning.function)
