"""`lab bench`: what it refuses, what it prints."""

import pandas as pd
import pytest
import torch

from lablib.app import bench
from lablib.app.errors import BadInput
from lablib.core.experiment import run_all
from lablib.speed.experiments.bench import bench as on_cpu
from lablib.speed.experiments.bench import bench_arms


def test_an_operator_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(BadInput, match="no operator 'swa'; expected one of: sliding window"):
        bench.chosen(["swa"], None)


def test_a_gpu_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(BadInput, match="there is no GPU here; `lab bench --device cpu`"):
            bench.chosen([], "cuda")


def test_the_operators_asked_for_run_with_one_seed():
    ((arms, experiment, _),) = bench.chosen(["selection"], "cpu")
    assert experiment.name == "speed/bench"
    assert {(cfg.operator, cfg.seed) for cfg in arms} == {("selection", 0)}


def test_the_table_has_every_provider_and_the_floor(capsys):
    bench.show(run_all(on_cpu, bench_arms("smoke"), in_process=True))
    printed = capsys.readouterr().out
    assert "sliding window, forward and backward: 64 tokens, 2 heads of 16 over 1" in printed
    assert all(name in printed for name in ("banded", "SDPA with a dense mask", "gathered", "block by block"))
    assert "other work" in printed
    assert "GFLOP/s" in printed


def test_the_distillation_loss_shows_what_is_kept(capsys):
    ((arms, experiment, show),) = bench.chosen(["distillation loss"], "cpu")
    assert {cfg.provider for cfg in arms} == {"all logits", "by chunk"}
    show(run_all(experiment, [cfg.replace(vocab=512, tokens=512, repeats=1) for cfg in arms], in_process=True))
    printed = capsys.readouterr().out
    assert "512 tokens, a vocabulary of 512" in printed
    assert "MiB kept" in printed
    assert len(bench.chosen([], "cpu")) == 2


def test_an_arm_that_fails_is_said_and_the_others_are_shown(monkeypatch, capsys):
    arms = bench_arms("smoke")[:2]
    broken = arms[0].replace(device="cuda")
    monkeypatch.setattr(bench, "chosen", lambda *_: [([broken, arms[1]], on_cpu, bench.show)])
    if not torch.cuda.is_available():
        assert bench.bench([], device=None, live=False) == 1
        printed = capsys.readouterr().out
        assert "times a GPU" in printed
        assert "banded" in printed


def test_rates_are_in_words():
    table = pd.DataFrame({"flops_per_second": [9e10, 1.1e11], "bytes_per_second": [1e10, 1e10]})
    assert bench.rates(table) == "100 GFLOP/s and 10 GB/s"
