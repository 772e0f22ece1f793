"""The paper's toy: without attention a Transformer is a bigram; the inner loop gives it a past (2512.23675, 2.1-2.3).

Two blocks of MLPs alone, both of them fast, on a language of sixteen bigram tables; every position is a row.

`ttt/toy`        the five curves of figure 2; the learning rate of each arm from the same four
`ttt/on_bytes`   four of them on the standard library's sources, at one of the rates
`ttt/controls`   ascent, first order, no clipping; the two loops without each other are rows of `ttt/toy`
"""

import math

from lablib.core.config import by_scale
from lablib.core.experiment import experiment
from lablib.data.languages import LanguageConfig
from lablib.train.loop import TrainConfig
from lablib.train.optim import OptimConfig
from lablib.ttt.e2e import InnerConfig
from lablib.ttt.train_and_evaluate import BYTES, SANDWICH, RunConfig, spent, train_and_read

TOPICS = LanguageConfig(kind="topics", num_tables=16)
BIGRAM = SANDWICH.replace(plan="mlp mlp", width=24, hidden=48)
BOTH = InnerConfig(fast="blocks.*.mlp.part", count=2)
RATES = (5e-3, 1e-2, 2e-2, 4e-2)
NAIVE_RATES = (0.1, 0.3, 1.0, 3.0, 10.0)
STEPS = {"no attention": 1500, "full attention": 3000, "TTT-E2E, b=1": 600, "TTT-E2E, b=16": 1500}


def toy_arm(scale: str, name: str, *, rate: float = 2e-2, steps: int | None = None, **inner) -> RunConfig:
    """One curve with seed 0. Where nothing is trained through the inner loop, naive reading is swept over its rates."""
    learns = name.startswith("TTT-E2E")
    chunk = 1 if name.endswith("b=1") or not learns else 16
    cfg = RunConfig.at(scale, name=name, learns=learns, language=TOPICS, resolution=1)
    if scale != "smoke":
        train = TrainConfig(steps=steps or STEPS[name], batch=32, log_every=20, optim=OptimConfig(lr=rate))
        cfg = cfg.replace(train=train, length=64, read_length=64, texts=1024)
    plan = "full full" if name == "full attention" else BIGRAM.plan
    inner = BOTH.replace(**{"chunk": chunk, **inner})
    cfg = cfg.replace(model=BIGRAM.replace(plan=plan), inner=inner, rate_warmup=0.1 if learns else 0.0)
    return cfg.replace(naive_rates=NAIVE_RATES) if name == "no attention" else cfg


def toy_arms(scale: str) -> list[RunConfig]:
    """Five seeds at every rate but the lowest, which has three."""
    arms = [toy_arm(scale, name, rate=rate) for name in STEPS for rate in RATES]
    lab = [toy_arm(scale, name, steps=STEPS[name] // 3) for name in STEPS if not name.endswith("b=1")]
    smoke = [toy_arm(scale, name) for name in ("no attention", "TTT-E2E, b=16")]
    return by_scale(scale, arms, lab=lab, smoke=smoke, seeds=lambda cfg: 3 if cfg.train.optim.lr == RATES[0] else 5)


def on_bytes_arms(scale: str) -> list[RunConfig]:
    """The same blocks, wider, on rows of 64 bytes: without a known best loss, at one learning rate; three seeds."""
    wider = {"model__vocab": BYTES, "model__width": 32, "model__hidden": 64}
    arms = [toy_arm(scale, name).replace(corpus="bytes", **wider) for name in STEPS]
    return by_scale(scale, arms, lab=(0, 3), seeds=3)


def controls_arms(scale: str) -> list[RunConfig]:
    """b=16 exact, first order and ascending; b=1 without clipping and warm-up of the inner rate; three seeds."""
    arms = [
        toy_arm(scale, "TTT-E2E, b=16").replace(name="exact, b=16"),
        toy_arm(scale, "TTT-E2E, b=16", ascent=True).replace(name="ascent, b=16"),
        toy_arm(scale, "TTT-E2E, b=16", order="first").replace(name="first order, b=16"),
        toy_arm(scale, "TTT-E2E, b=1", steps=300).replace(name="clipped, b=1"),
        toy_arm(scale, "TTT-E2E, b=1", steps=300, clip=math.inf).replace(name="not clipped, b=1", rate_warmup=0.0),
    ]
    return by_scale(scale, arms, lab=1, seeds=3)


toy = experiment("ttt/toy", version=1, arms=toy_arms, counted=spent)(train_and_read)
on_bytes = experiment("ttt/on_bytes", version=1, arms=on_bytes_arms, counted=spent)(train_and_read)
controls = experiment("ttt/controls", version=1, arms=controls_arms, counted=spent)(train_and_read)
