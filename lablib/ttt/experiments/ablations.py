"""What each choice of the inner loop is worth (arXiv 2512.23675, figure 4): one change at a time, three seeds.

Window and chunk (never longer than the window), the inner rate learned or fixed, the clip, the number of blocks with
fast weights, and the size of the fast MLP at equal parameters. Exploratory.
"""

import math

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.ttt.baselines import BASE, at_size, baseline, size_of
from lablib.ttt.train_and_evaluate import RunConfig, spent, train_and_read

STEPS = 300
CHANGES = {
    "as it is": {},
    "window 64": {"model__window": 64},
    "window 64, chunk 64": {"model__window": 64, "inner__chunk": 64},
    "chunk 8": {"inner__chunk": 8},
    "chunk 4": {"inner__chunk": 4},
    "rate fixed at 0.3": {"inner__learned": False},
    "rate fixed at 1": {"inner__learned": False, "inner__rate": 1.0},
    "not clipped": {"inner__clip": math.inf},
    "two fast blocks": {"inner__count": 2, "model__plan": "swa swa swa+prime swa+prime", "model__prime": 25},
    "a larger fast MLP": {"model__prime": 102},
    "a smaller fast MLP": {"model__prime": 12},
}


def ablations_arms(scale: str) -> list[RunConfig]:
    """Three seeds at full scale."""
    base = baseline(scale, "TTT-E2E", steps=STEPS)
    changed = [base.replace(name=name, **changes) for name, changes in CHANGES.items()]
    arms = [cfg.replace(model=at_size(cfg.model, size_of(BASE))) for cfg in changed]
    return by_scale(scale, arms, lab=1, seeds=3)


ablations = experiment("ttt/ablations", version=1, arms=ablations_arms, counted=spent)(train_and_read)
