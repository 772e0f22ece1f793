"""No configuration of any experiment takes what is not a number, or a rate without an end."""

import dataclasses
import math
from typing import get_args, get_type_hints

import pytest

from lablib.core.config import Config
from lablib.core.experiment import all_experiments
from lablib.train.optim import OptimConfig

NAMES = ("seed", "table_seed")  # numbers that are no sizes


def configs(cfg: Config) -> dict[type, Config]:
    """Those that a configuration is made of, by their type."""
    found = {type(cfg): cfg}
    for field in dataclasses.fields(cfg):
        value = getattr(cfg, field.name)
        for part in value if isinstance(value, tuple) else (value,):
            found |= configs(part) if isinstance(part, Config) else {}
    return found


def every(number: type, subject: str = "lablib") -> list:
    found: dict[type, Config] = {}
    for experiment in all_experiments().values():
        if experiment.arms.__module__.startswith("lablib."):
            found |= configs(experiment.arms("smoke")[0])
    cases = []
    for kind, cfg in found.items():
        for name, hint in get_type_hints(kind).items():
            numbered = hint is number or number in get_args(hint)
            if kind.__module__.startswith(subject) and numbered and name not in NAMES:
                cases.append(pytest.param(cfg, name, id=f"{kind.__name__}.{name}"))
    return cases


@pytest.mark.parametrize(("cfg", "name"), every(float))
def test_no_number_of_any_configuration_is_nan_or_endless(cfg, name):
    for bad in (math.nan, *(() if name in cfg.endless else (math.inf, -math.inf))):
        value = (
            (bad,) * max(1, len(getattr(cfg, name) or ())) if "tuple" in str(get_type_hints(type(cfg))[name]) else bad
        )
        with pytest.raises(ValueError, match=name.split("_")[0]):
            cfg.replace(**{name: value})


@pytest.mark.parametrize(("cfg", "name"), [*every(int, "lablib.t"), *every(int, "lablib.nn")])
def test_no_size_is_below_nothing(cfg, name):
    value = (-1,) if isinstance(getattr(cfg, name), tuple) else -1
    with pytest.raises(ValueError, match=r"expected|must be|multiple"):
        cfg.replace(**{name: value})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"clip": -1.0}, "clip is -1.0; expected more than 0"),
        ({"clip": 0.0}, "clip is 0.0; expected more than 0"),
        ({"clip": math.nan}, "clip is nan; expected more than 0"),
        ({"lr": -1e-3}, "lr is -0.001; expected at least 0"),
        ({"lr": math.inf}, "lr is inf; expected numbers, all finite"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; expected at least 0"),
        ({"beta1": 1.0}, "beta1 is 1.0; expected 0 to less than 1"),
        ({"beta2": -0.5}, "beta2 is -0.5; expected"),
        ({"beta2": math.nan}, "beta2 is nan; expected"),
    ],
)
def test_an_optimiser_that_would_climb_or_stand_still_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        OptimConfig(**fields)


def test_only_a_clip_may_be_infinite_which_is_none():
    kinds = {type(case.values[0]) for case in every(float)}
    assert {name for kind in kinds for name in kind.endless} == {"clip", "bind_clip"}


def test_no_clipping_and_a_rate_of_zero_are_legal():
    assert OptimConfig(clip=math.inf, lr=0.0, weight_decay=0.0, beta1=0.0, beta2=0.0).clip == math.inf
