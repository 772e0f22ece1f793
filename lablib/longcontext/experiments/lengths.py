"""Curriculum, long rows from the beginning, or random lengths? And three ingredients of the training.

`longcontext/lengths` gives four ways to spend the same training tokens on rows of 64 to 512 tokens, each at four
learning rates: generalisation, stability and cost. Only retrieval is trained, with two needles in a row, whatever its
length; the control has as many needles in a long row as eight short ones have. Its questions are then as many, but
each has 16 needles in its row, and it is run at one rate: it does not settle whether long rows lack questions.
`longcontext/ingredients` (exploratory) changes one thing at a time at equal row length: how far the needles lie,
dense or sparse top-k, encoded or mean landmarks.
"""

from typing import Any

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.train_and_evaluate import RecipeConfig, curriculum_at, train_and_ask
from lablib.train.optim import OptimConfig

LENGTHS = (64, 128, 256, 512)
TWO = RetrievalConfig(num_pairs=2)
WAYS: dict[str, tuple[tuple[float, dict[str, Any]], ...]] = {
    "short throughout": ((1.0, {}),),
    "curriculum": tuple((0.25, {"lengths": (length,)}) for length in LENGTHS),
    "random lengths": ((1.0, {"lengths": LENGTHS}),),
    "long from the beginning": ((1.0, {"lengths": (512,)}),),
}
RATES = (1e-3, 2e-3, 4e-3, 1.6e-2)


def way(scale: str, name: str, *parts: tuple[float, dict[str, Any]], rate: float = 4e-3, **fields) -> RecipeConfig:
    """One way to spend the training, with seed 0."""
    curriculum = curriculum_at(scale, 800, *parts, optim=OptimConfig(lr=rate), log_every=10)
    probes = {"probe_every": 100, "probe_lengths": (64, 512, 4096)} if scale != "smoke" else {}
    cfg = RecipeConfig.at(scale, recipe=name, curriculum=curriculum)
    return cfg.replace(**{"data": TWO, "needles": 2, **probes, **fields})


def lengths_arms(scale: str) -> list[RecipeConfig]:
    """Four ways at four rates and the control at 4e-3, five seeds each."""
    few = [way(scale, name, *parts) for name, parts in WAYS.items()][1:]
    control = way(scale, "long, as many questions", *WAYS["long from the beginning"], per_token=True)
    arms = [way(scale, name, *parts, rate=rate) for rate in RATES for name, parts in WAYS.items()]
    return by_scale(scale, [*arms, control], lab=few, smoke=few[:2])


def ingredients_arms(scale: str) -> list[RecipeConfig]:
    """Rows of 128 tokens with four needles, one ingredient changed; two-token keys for the landmarks; three seeds."""
    four, shared = TWO.replace(num_pairs=4), TWO.replace(key_tokens=2, shared_keys=True)
    long, both = {"lengths": (128,)}, {"ask_top_k": (2 if scale == "smoke" else 4, 16), "data": four, "needles": 4}
    arms = [
        way(scale, "sparse, needles anywhere", (1.0, long), **both),
        way(scale, "needles near their question", (1.0, long), data=four.replace(max_distance=16), needles=4),
        way(scale, "dense top-k", (1.0, {**long, "top_k": None}), **both),
        way(scale, "two-token keys, encoded landmarks", (1.0, {}), data=shared, model__landmark="encoded"),
        way(scale, "two-token keys, mean landmarks", (1.0, {}), data=shared, model__landmark="mean"),
    ]
    return by_scale(scale, arms, smoke=2, seeds=3)


lengths = experiment("longcontext/lengths", version=1, arms=lengths_arms)(train_and_ask)
ingredients = experiment("longcontext/ingredients", version=1, arms=ingredients_arms)(train_and_ask)
