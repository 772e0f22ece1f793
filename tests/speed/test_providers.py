"""Whoever is timed computes the same, and whoever does not is caught before the clock starts."""

import pytest
import torch

from lablib.speed.checking import error_of, short
from lablib.speed.experiments import bench as benches
from lablib.speed.experiments.bench import BenchConfig, bench_arms, fitting, gpu_arms, measure
from lablib.speed.providers import PROVIDERS, Provider, operands
from lablib.speed.timing import ceilings, seconds
from lablib.speed.work import Shape

SMALL = Shape(batch=2, heads=4, kv_heads=2, time=70, dim=16, window=20, chunk=16, top_k=2)
CPU = torch.device("cpu")
SAME = [(o, n) for o, found in PROVIDERS.items() for n, p in found.items() if p.same and not p.needs_gpu]


def error(operator, provider, mode="forward"):
    return error_of(operator, provider, mode, SMALL, CPU, torch.float32, seed=0)


@pytest.mark.parametrize(("operator", "name"), SAME)
def test_all_that_claim_the_same_work_agree_with_the_definition_in_output_and_gradients(operator, name):
    modes = ("forward",) if operator == "selection" else ("forward", "forward and backward")
    for mode in modes:
        assert error(operator, PROVIDERS[operator][name], mode) < 1e-5


def test_other_work_is_other_work():
    for operator in ("sliding window", "chosen chunks"):
        assert not PROVIDERS[operator]["causal SDPA"].same
        assert error(operator, PROVIDERS[operator]["causal SDPA"]) > 0.1


def test_a_wrong_gradient_behind_a_right_output_is_seen():
    right = PROVIDERS["sliding window"]["the definition"]

    def make(shape):
        compute = right.make(shape)
        return lambda q, k, v: compute(q, k.detach() + 0 * k, v)

    assert error("sliding window", Provider(make)) < 1e-5
    assert error("sliding window", Provider(make), "forward and backward") > 0.5


@pytest.mark.parametrize(
    "spoil",
    [
        lambda chosen: chosen.roll(1, -2),
        lambda chosen: chosen.masked_fill(chosen == chosen.max(), -1),
        lambda chosen: torch.where(chosen > 0, chosen - 1, chosen),
    ],
    ids=["of the token before", "one left out", "the neighbours"],
)
def test_a_wrong_selection_is_seen(spoil):
    right = PROVIDERS["selection"]["block by block"]
    wrong = Provider(lambda shape: lambda *inputs: spoil(right.make(shape)(*inputs)))
    assert error("selection", right) < 1e-6
    assert error("selection", wrong) > 1e-2


def test_what_is_checked_chooses_among_more_than_it_takes():
    shape = short(Shape())
    assert shape.time // shape.chunk >= 4 * shape.top_k
    assert shape.window < shape.time


def test_a_provider_that_is_wrong_is_not_timed(monkeypatch):
    wrong = Provider(lambda shape: lambda q, k, v: v.repeat_interleave(2, 1))
    monkeypatch.setitem(PROVIDERS["sliding window"], "wrong", wrong)
    monkeypatch.setattr(benches, "seconds", lambda *_: pytest.fail("it was timed"))
    with pytest.raises(RuntimeError, match="wrong is not sliding window: its error is"):
        measure(BenchConfig(provider="wrong", shape=SMALL))


def test_a_provider_of_nan_is_not_timed_either(monkeypatch):
    broken = Provider(lambda shape: lambda q, k, v: q * torch.nan)
    monkeypatch.setitem(PROVIDERS["sliding window"], "broken", broken)
    with pytest.raises(RuntimeError, match="broken is not sliding window: its error is nan"):
        measure(BenchConfig(provider="broken", shape=SMALL))


def test_gradients_are_timed_of_all_that_have_one():
    cfg = BenchConfig(
        operator="chosen chunks", provider="gathered", mode="forward and backward", shape=SMALL, repeats=1
    )
    row = measure(cfg).iloc[0]
    assert row["low_seconds"] <= row["seconds"] <= row["high_seconds"]
    assert 0 < row["floor_seconds"] < row["seconds"]


def test_the_median_and_its_range_are_of_the_calls_after_the_first_two():
    calls = []

    def call():
        calls.append(1)
        sum(range(20_000 if len(calls) > 2 else 2_000_000))

    spent = seconds(call, CPU, 5)
    assert len(calls) == 7
    assert spent.low <= spent.median <= spent.high < 0.02
    assert seconds(lambda: None, CPU, 1).high < 0.01


def test_ceilings_are_rates():
    best = ceilings(CPU, torch.float32)
    assert best.flops > 1e8
    assert best.bytes > 1e7


def test_operands_of_a_selection_choose_the_past_alone():
    *_, chunks, weights = operands("chosen chunks", SMALL, CPU, torch.float32, 0)
    assert ((chunks + 1) * SMALL.chunk <= torch.arange(SMALL.time)[:, None]).all()
    assert (weights[chunks < 0] == 0).all()


def test_a_gpu_is_asked_for_by_the_arms_of_a_gpu_alone():
    assert {cfg.device for cfg in bench_arms("full")} == {"cpu"}
    assert {cfg.device for cfg in gpu_arms("full")} == {"cuda"}
    assert {"ours", "flex_attention", "ours, query-major", "causal SDPA"} <= {cfg.provider for cfg in gpu_arms("full")}
    assert not {"by chunk", "gathered", "gather, then SDPA"} & {cfg.provider for cfg in gpu_arms("full")}
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="there is none here"):
            measure(gpu_arms("full")[0])


def test_matrices_of_time_by_time_end_where_a_small_machine_does():
    for time, fits in ((4096, True), (16_384, False)):
        shape = Shape(heads=4, kv_heads=1, time=time)
        assert fitting("sliding window", "the definition", "forward", shape, "cpu") == fits


def test_copies_that_are_kept_for_gradients_are_counted():
    shape = Shape(time=8192)
    assert fitting("chosen chunks", "gathered", "forward", shape, "cuda")
    assert not fitting("chosen chunks", "gathered", "forward and backward", shape, "cuda")


def test_what_is_not_there_is_refused_by_name():
    with pytest.raises(
        ValueError, match="provider is 'fast'; of selection there are ours, block by block, the definition"
    ):
        BenchConfig(operator="selection", provider="fast")
    with pytest.raises(ValueError, match="no backward"):
        BenchConfig(operator="selection", provider="block by block", mode="forward and backward")
