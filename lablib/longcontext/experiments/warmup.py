"""Can a narrow start rescue a wide window? (arXiv 2511.23319, sections 3.2 and 4.1, table 2)

`longcontext/warmup` compares, at equal tokens, a wide window from the beginning (also with some rows longer than the
window), a short window with dense top-k first, self-copy first, and a narrow window throughout. Half of the loss asks
for needles, half for the next token of a haystack whose local component lies 24 tokens back: there a wide window is
needed, and its work is never finished.
`longcontext/aftermath` lets the second phase run on at a constant rate: does it undo the warm-up?
`longcontext/schedules` is a coarse grid of warm-ups for the explorer.
"""

from typing import Any

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.longcontext.stages import Mix
from lablib.longcontext.train_and_evaluate import TWO_SIDED, RecipeConfig, curriculum_at, train_and_ask
from lablib.train.schedule import ScheduleConfig

NARROW: dict[str, Any] = {"window": 8, "top_k": 4, "mix": TWO_SIDED}
WIDE: dict[str, Any] = {"window": 64, "top_k": 4, "mix": TWO_SIDED}
# two thirds of the tokens in rows of 64, a third in rows of 256, which are longer than the window
THIRD: dict[str, Any] = {**WIDE, "lengths": (64, 256), "length_weights": (0.67, 0.33)}
SHORT_DENSE: dict[str, Any] = {"window": 8, "top_k": None, "mix": TWO_SIDED}
SELF_COPY: dict[str, Any] = {"window": 8, "top_k": None, "mix": Mix(retrieval=0.0, copied=1.0)}
SLOWLY: dict[str, Any] = {**WIDE, "transition": "cosine", "transition_steps": 240}
ANEW: dict[str, Any] = {**WIDE, "rate": "start anew"}
STEPS, WARM = 1200, 0.4

RECIPES: dict[str, tuple[tuple[float, dict[str, Any]], ...]] = {
    "narrow throughout": ((1.0, NARROW),),
    "wide from scratch": ((1.0, WIDE),),
    "short and dense, then wide": ((WARM, SHORT_DENSE), (1 - WARM, WIDE)),
    "self-copy, then wide": ((WARM, SELF_COPY), (1 - WARM, WIDE)),
    "short and dense, then slowly wide": ((WARM, SHORT_DENSE), (1 - WARM, SLOWLY)),
    "short and dense, then wide with a new schedule": ((WARM, SHORT_DENSE), (1 - WARM, ANEW)),
}

# share of the steps, window (tokens) and top-k of a warm-up
GRID = ((0.1, 8, None), (0.2, 8, None), (0.6, 8, None), (0.4, 32, None), (0.2, 8, 4), (0.4, 8, 4))


def recipe(scale: str, name: str, *parts: tuple[float, dict[str, Any]], steps: int = STEPS, **fields) -> RecipeConfig:
    """The recipe of a name with seed 0 at a scale."""
    schedule = {"schedule": fields.pop("schedule")} if "schedule" in fields else {}
    curriculum = curriculum_at(scale, steps, *parts, **schedule)
    widest = max(stage.window for stage in curriculum.stages)
    return RecipeConfig.at(scale, recipe=name, curriculum=curriculum).replace(model__window=widest, **fields)


def warmup_arms(scale: str) -> list[RecipeConfig]:
    """Six recipes with five seeds; the wide window with long rows, and with a loss of retrieval (exploratory)."""
    arms = [recipe(scale, name, *parts) for name, parts in RECIPES.items()]
    helped = recipe(scale, "wide from scratch, with a retrieval loss", (1.0, WIDE), retrieval_loss=0.5)
    longer = recipe(scale, "wide from scratch, a third in long rows", (1.0, THIRD))
    return by_scale(scale, [*arms, helped, longer], lab=4, smoke=3, seeds=lambda cfg: 3 if cfg == helped else 5)


def aftermath_arms(scale: str) -> list[RecipeConfig]:
    """Both warm-ups and 1 920 steps after them at the full rate; and with a share of rows longer than the window."""
    (steps, share), constant = (2400, 0.2) if scale != "lab" else (1200, 0.4), ScheduleConfig(shape="constant")
    ways = (
        ("short and dense, then wide", SHORT_DENSE, WIDE),
        ("self-copy, then wide", SELF_COPY, WIDE),
        ("short and dense, then wide with a third of long rows", SHORT_DENSE, THIRD),
    )
    same = {"steps": steps, "schedule": constant}
    return by_scale(scale, [recipe(scale, name, (share, one), (1 - share, two), **same) for name, one, two in ways])


def schedules_arms(scale: str) -> list[RecipeConfig]:
    """Warm-ups by their length, their window and their top-k, three seeds (exploratory, for the explorer)."""
    arms = []
    for share, window, top_k in GRID:
        first = {"window": window, "top_k": top_k, "mix": TWO_SIDED}
        name = f"{share:.0%} of the steps with window {window}, top-k {top_k or 'dense'}"
        arms.append(recipe(scale, name, (share, first), (1 - share, WIDE)))
    return by_scale(scale, arms, lab=1, seeds=3)


warmup = experiment("longcontext/warmup", version=1, arms=warmup_arms)(train_and_ask)
aftermath = experiment("longcontext/aftermath", version=1, arms=aftermath_arms)(train_and_ask)
schedules = experiment("longcontext/schedules", version=1, arms=schedules_arms)(train_and_ask)
