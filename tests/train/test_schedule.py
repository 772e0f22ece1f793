"""Learning-rate schedules: from a warm-up to the floor, without a jump."""

import itertools

import pytest

from lablib.train.schedule import ScheduleConfig, factor

SHAPES = ("constant", "linear", "cosine", "wsd")
SETTINGS = {
    "plain": {"warmup": 50},
    "no warm-up": {"warmup": 0},
    "with a floor": {"warmup": 20, "floor": 0.1},
    "a long decay": {"warmup": 10, "decay": 0.5},
    "decay all along": {"warmup": 0, "decay": 1.0},
    "a decay that begins within the warm-up": {"warmup": 150, "decay": 0.8},
    "all floor": {"warmup": 10, "floor": 1.0},
}
STEPS = 300
shapes = pytest.mark.parametrize("shape", SHAPES)
settings = pytest.mark.parametrize("changes", SETTINGS.values(), ids=SETTINGS.keys())


def curve(cfg: ScheduleConfig, num_steps: int = STEPS) -> list[float]:
    """The factors of all steps, and the one that the run would end at."""
    return [factor(cfg, step, num_steps) for step in range(num_steps + 1)]


@shapes
@settings
def test_factors_are_shares_of_the_peak(shape, changes):
    assert all(0 <= value <= 1 for value in curve(ScheduleConfig(shape=shape, **changes)))


@shapes
@settings
def test_there_is_no_jump_at_any_joint(shape, changes):
    cfg = ScheduleConfig(shape=shape, **changes)
    values = curve(cfg)
    fall = STEPS - max(cfg.warmup, STEPS * (1 - cfg.decay) if shape == "wsd" else 0)
    steepest = max(1 / (cfg.warmup + 1) if cfg.warmup else 0, 1.6 / fall)  # a cosine is at most pi / 2 over a line
    assert max(abs(b - a) for a, b in itertools.pairwise(values)) <= steepest + 1e-12


@shapes
@settings
def test_warm_up_rises_in_equal_steps_from_above_zero_to_one(shape, changes):
    cfg = ScheduleConfig(shape=shape, **changes)
    values = curve(cfg)
    assert values[0] > 0
    assert values[cfg.warmup] == pytest.approx(1.0)
    for step in range(cfg.warmup):
        assert values[step + 1] - values[step] == pytest.approx(1 / (cfg.warmup + 1))


@shapes
@settings
def test_after_the_warm_up_it_never_rises_and_the_run_ends_at_the_floor(shape, changes):
    cfg = ScheduleConfig(shape=shape, **changes)
    after = curve(cfg)[cfg.warmup :]
    assert all(b <= a + 1e-12 for a, b in itertools.pairwise(after))
    assert min(after) >= (1.0 if shape == "constant" else cfg.floor) - 1e-12
    assert after[-1] == pytest.approx(1.0 if shape == "constant" else cfg.floor)


@pytest.mark.parametrize("shape", ["linear", "cosine", "wsd"])
@settings
def test_the_floor_is_reached_one_step_after_the_last(shape, changes):
    cfg = ScheduleConfig(shape=shape, **changes)
    assert factor(cfg, STEPS, STEPS) == pytest.approx(cfg.floor)
    assert factor(cfg, STEPS - 1, STEPS) > cfg.floor or cfg.floor == 1


@pytest.mark.parametrize("decay", [0.1, 0.2, 0.5])
def test_the_stable_part_of_wsd_is_one_and_the_decay_a_straight_line(decay):
    values = curve(ScheduleConfig(shape="wsd", warmup=20, decay=decay, floor=0.1))
    begin = round(STEPS * (1 - decay))
    assert values[20 : begin + 1] == pytest.approx([1.0] * (begin - 19))
    assert values[begin + 1] < 1
    falls = [a - b for a, b in zip(values[begin:], values[begin + 1 :], strict=False)]
    assert falls == pytest.approx([0.9 / (STEPS * decay)] * len(falls))


def test_linear_and_cosine_are_half_way_down_half_way_through():
    for shape in ("linear", "cosine"):
        cfg = ScheduleConfig(shape=shape, warmup=100, floor=0.2)
        assert factor(cfg, 200, 300) == pytest.approx(0.6)
    early = {shape: factor(ScheduleConfig(shape=shape, warmup=0), 30, 300) for shape in ("linear", "cosine")}
    assert early["cosine"] > early["linear"]


@shapes
@pytest.mark.parametrize("num_steps", [1, 2, 50, 51])
def test_a_run_as_short_as_its_warm_up_is_still_a_schedule(shape, num_steps):
    values = curve(ScheduleConfig(shape=shape, warmup=50), num_steps)[:num_steps]
    assert all(0 < value <= 1 for value in values)


@pytest.mark.parametrize(
    "changes",
    [{"warmup": -1}, {"floor": -0.1}, {"floor": 1.5}, {"decay": 0.0}, {"decay": 1.2}],
    ids=str,
)
def test_a_schedule_that_is_none_is_refused(changes):
    with pytest.raises(ValueError, match=f"{next(iter(changes))} is .*; expected"):
        ScheduleConfig(**changes)


def test_an_unknown_shape_is_refused_by_name(refused):
    with refused(TypeError, r"ScheduleConfig\.shape is 'square'"):
        ScheduleConfig(shape="square")
