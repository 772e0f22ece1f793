"""What is further context worth to each way of remembering? On a language that takes long to know, and on real bytes.

`ttt/context`   all models, trained on texts of 256 tokens of `RowMixture`, read to 2 048 (2512.23675, figures 1 and 6)
`ttt/rates`     the learning rates they were chosen from: three seeds, short runs, the same five rates for each
`ttt/ladder`    from TTT-KVB to TTT-E2E, step by step (section 2.4, table 1)
`ttt/sources`   three of them on the standard library's sources
"""

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.ttt.baselines import BASELINES, LADDER, baseline
from lablib.ttt.train_and_evaluate import BYTES, RunConfig, spent, train_and_read

STEPS = 600
LONGER = dict.fromkeys(("full attention", "hybrid 5:1"), 3 * STEPS)  # attention to all is slow to learn to copy
RATES = (2.5e-3, 5e-3, 1e-2, 2e-2, 4e-2)


def context_arms(scale: str) -> list[RunConfig]:
    """Every model at its best rate, five seeds."""
    arms = [baseline(scale, name, steps=LONGER.get(name, STEPS)) for name in BASELINES]
    return at_scale(scale, arms, lab=("sliding window", "TTT-E2E"))


def ladder_arms(scale: str) -> list[RunConfig]:
    """Each step at the same budget, five seeds; the ends are those of `ttt/context`."""
    arms = [baseline(scale, name, steps=STEPS) for name in LADDER]
    return at_scale(scale, arms, lab=())


def rates_arms(scale: str) -> list[RunConfig]:
    """Every kind of model at five learning rates, 150 steps, three seeds; variants take the rate of their kind."""
    names = [name for name in BASELINES if name != "TTT-E2E, first order"]
    arms = [baseline(scale, name, steps=150, rate=rate).replace(naive_rates=()) for name in names for rate in RATES]
    return by_scale(scale, arms, lab=1, seeds=3)


def sources_arms(scale: str) -> list[RunConfig]:
    """Sliding window, full attention (longer) and TTT-E2E on bytes, at one learning rate, five seeds."""
    wider = {"width": 64, "hidden": 102, "prime": 102, "window": 32, "vocab": BYTES}
    fields = {"corpus": "bytes", "inner__chunk": 32} | {f"model__{field}": value for field, value in wider.items()}
    if scale != "smoke":
        fields |= {"length": 256, "read_length": 1024, "texts": 64}
    longer = {"full attention": 900, "sliding window": 300, "TTT-E2E": 300}
    arms = [baseline(scale, name, steps=steps, rate=1e-2, **fields) for name, steps in longer.items()]
    return at_scale(scale, arms, lab=())


def at_scale(scale: str, arms: list[RunConfig], lab: tuple[str, ...]) -> list[RunConfig]:
    """Five seeds at full scale; at lab scale the named ones with one seed and a quarter of the steps; two at smoke."""
    chosen = [cfg for cfg in arms if cfg.name in lab] or arms[-1:]
    shorter = [cfg.replace(train__steps=cfg.train.steps // 4) for cfg in chosen] if scale == "lab" else []
    return by_scale(scale, arms, lab=shorter, smoke=[arms[-1], arms[0]])


context = experiment("ttt/context", version=1, arms=context_arms, counted=spent)(train_and_read)
ladder = experiment("ttt/ladder", version=1, arms=ladder_arms, counted=spent)(train_and_read)
rates = experiment("ttt/rates", version=1, arms=rates_arms, counted=spent)(train_and_read)
sources = experiment("ttt/sources", version=1, arms=sources_arms, counted=spent)(train_and_read)
