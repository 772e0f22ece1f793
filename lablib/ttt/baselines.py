"""TTT-E2E and what it is compared with, as configurations of equal size (arXiv 2512.23675, sections 2.4 and 3.1).

All have four blocks (the 5:1 hybrid needs six) and the parameters of TTT-E2E: what a mixer takes, the MLPs give.
The sliding-window model has TTT-E2E's own architecture, trained without the inner loop; read with it, it is TTT-naive.
"""

import functools
from typing import Any

from lablib.core.measure import num_parameters
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.loop import TrainConfig
from lablib.train.optim import OptimConfig
from lablib.ttt.e2e import InnerConfig
from lablib.ttt.train_and_evaluate import SANDWICH, RunConfig

BASE = SANDWICH.replace(plan="swa swa swa swa+prime", hidden=51, prime=51)
BEST_RATE = {"sliding window": 2e-2, "TTT-KVB": 2e-2, "TTT-KVB, simplified": 2e-2}  # of `ttt/rates`
RATE = 4e-2  # the best of all others
NAIVE_RATES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)

PLANS = {
    "full attention": "full full full full+prime",
    "sliding window": BASE.plan,
    "hybrid 5:1": "swa swa swa swa swa full",
    "Mamba-2": "mamba2 swa mamba2 swa",
    "Gated DeltaNet": "delta swa delta swa",
    "TTT-KVB": "swa swa+kvb swa swa+kvb",
    "TTT-KVB, simplified": "swa swa+kvb-simple swa swa+kvb-simple",
    "TTT-E2E, all blocks": "swa+prime swa+prime swa+prime swa+prime",
    "TTT-E2E, first order": BASE.plan,
    "TTT-E2E": BASE.plan,
}
BASELINES = tuple(name for name in PLANS if name not in ("TTT-KVB, simplified", "TTT-E2E, all blocks"))
LADDER = ("sliding window", "TTT-KVB", "TTT-KVB, simplified", "TTT-E2E, all blocks", "TTT-E2E")


def baseline(scale: str, name: str, *, steps: int = 800, rate: float | None = None, **fields: Any) -> RunConfig:
    """The model of a name with seed 0: `steps` of training (smoke: a few); `rate` None: the best of `ttt/rates`."""
    if name not in PLANS:
        raise ValueError(f"there is no model {name!r}; expected one of {', '.join(PLANS)}")
    cfg = RunConfig.at(scale, name=name, learns=name.startswith("TTT-E2E"))
    optim = OptimConfig(lr=BEST_RATE.get(name, RATE) if rate is None else rate)
    train = TrainConfig(steps=steps, batch=16, log_every=20, checkpoint_every=200, optim=optim)
    inner = InnerConfig(order="first" if name == "TTT-E2E, first order" else "exact")
    model = BASE.replace(plan=PLANS[name])
    if name == "TTT-E2E, all blocks":
        inner, model = inner.replace(count=4), model.replace(prime=BASE.prime // 4)
    changes = {key.removeprefix("model__"): fields.pop(key) for key in list(fields) if key.startswith("model__")}
    model = at_size(model.replace(**changes), size_of(BASE.replace(**changes)))
    if name == "sliding window":
        fields["naive_rates"] = NAIVE_RATES
    return cfg.replace(model=model, inner=inner, train=cfg.train if scale == "smoke" else train, **fields)


def at_size(cfg: ModelConfig, parameters: int) -> ModelConfig:
    """The model with MLPs as wide as they can be within a number of parameters; ValueError if not even 1 fits."""
    one, two = (size_of(cfg.replace(hidden=hidden)) for hidden in (1, 2))
    if one == two:
        raise ValueError(f"plan {cfg.plan!r} has no MLP of width `hidden`, so no width can give it a size")
    hidden = 1 + (parameters - one) // (two - one)
    if hidden < 1:
        raise ValueError(f"plan {cfg.plan!r} alone has {one:,} parameters, more than the {parameters:,} allowed")
    return cfg.replace(hidden=hidden)


@functools.cache
def size_of(cfg: ModelConfig) -> int:
    """Parameters of a model."""
    return num_parameters(LanguageModel(cfg))
