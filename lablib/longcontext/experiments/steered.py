"""Does a curriculum that follows the model beat the best fixed one? At equal tokens, also where it does not.

`longcontext/steered` steers the windows of the warm-up (widen while retrieval holds; a monitor that holds windows or
raises the retrieval weight) and the lengths of rows (more of what is not learnt; a bandit on learning progress).
`longcontext/balance` steers the shares of retrieval and reasoning, for the model with two HSA groups.
The fixed recipes they are held against are those of `longcontext/warmup` and `longcontext/lengths`, and of `balance`.
"""

from typing import Any

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.experiments.lengths import LENGTHS, way
from lablib.longcontext.experiments.tracking import TrackingConfig
from lablib.longcontext.experiments.warmup import RECIPES, WIDE, recipe
from lablib.longcontext.stages import Mix
from lablib.longcontext.train_and_evaluate import RecipeConfig, Steering, curriculum_at, train_and_ask

CHAIN_DATA = RetrievalConfig(num_pairs=2)
CHAIN_MODEL = TrackingConfig().model  # two HSA groups, reads that start as the identity


def steered_arms(scale: str) -> list[RecipeConfig]:
    """Windows three ways; lengths two ways, at two rates (the second is best for the fixed ways); five seeds each."""
    all_lengths: tuple[float, dict[str, Any]] = (1.0, {"lengths": LENGTHS})
    undone = RECIPES["short and dense, then wide with a new schedule"]  # what a monitor is for
    arms = [
        recipe(scale, "window widens while retrieval holds", (1.0, WIDE), steering="window"),
        recipe(scale, "monitor holds the window", *undone, steering="monitor holds"),
        recipe(scale, "monitor raises retrieval", *undone, steering="monitor raises"),
    ]
    for rate in (4e-3, 2e-3):
        arms.append(way(scale, "lengths by need", all_lengths, steering="mix", rate=rate))
        arms.append(way(scale, "lengths by a bandit", all_lengths, steering="bandit", rate=rate))
    return by_scale(scale, arms, lab=1, smoke=5)


def balance_arms(scale: str) -> list[RecipeConfig]:
    """Three fixed shares of reasoning and one that follows the need, five seeds each."""
    ways: dict[str, tuple[Mix, Steering]] = {"reasoning by need": (Mix(retrieval=0.5, reasoning=0.5), "mix")}
    for share in (0.25, 0.5, 0.75):
        ways[f"reasoning {share:.0%}"] = (Mix(retrieval=1 - share, reasoning=share), "none")
    arms = []
    for name, (mix, steering) in ways.items():
        cfg = RecipeConfig.at(scale, recipe=name, curriculum=curriculum_at(scale, 1600, (1.0, {"mix": mix})))
        arms.append(cfg.replace(model=CHAIN_MODEL, data=CHAIN_DATA, steering=steering, needles=2))
    return by_scale(scale, arms, lab=1)


steered = experiment("longcontext/steered", version=1, arms=steered_arms)(train_and_ask)
# here `exact_reasoning` and `accuracy_reasoning` are those of chains
balance = experiment("longcontext/balance", version=1, arms=balance_arms)(train_and_ask)
