"""Peers are of one size and read the same texts; what is too good is caught; rows stand where they should."""

import math

import pandas as pd
import pytest
import torch
from torch import Generator

from lablib.train.evaluate import by_position
from lablib.ttt import train_and_evaluate as runs
from lablib.ttt.baselines import BASE, PLANS, at_size, baseline, size_of
from lablib.ttt.e2e import Carry, TTTModel
from lablib.ttt.experiments.recall import RecallConfig
from lablib.ttt.train_and_evaluate import RunConfig, check_leak, train_and_read


def test_peers_have_the_same_number_of_parameters():
    sizes = {name: size_of(baseline("full", name).model) for name in PLANS}
    assert max(sizes.values()) == size_of(BASE)
    assert min(sizes.values()) > 0.985 * size_of(BASE), sizes


def test_a_plan_that_alone_is_too_large_is_refused():
    with pytest.raises(ValueError, match="alone has"):
        at_size(BASE.replace(plan="swa+kvb swa+kvb swa+kvb swa+kvb"), 30_000)


def test_the_sliding_window_peer_is_the_same_model_as_e2e():
    assert baseline("full", "sliding window").model == baseline("full", "TTT-E2E").model
    assert baseline("full", "TTT-E2E, first order").inner.order == "first"


def test_untrained_the_window_reads_as_e2e_without_its_inner_loop():
    """Seeds are paired: the same initial model, the same texts."""
    found = []
    for name in ("sliding window", "TTT-E2E"):
        cfg = baseline("smoke", name).replace(naive_rates=())
        tables = runs.read_all(cfg, runs.build(cfg).eval())
        (off,) = (table for table in tables if (table["mode"] == "off").all())
        found.append(off)
    assert found[0]["loss"].tolist() == found[1]["loss"].tolist()
    assert found[0]["best"].tolist() == found[1]["best"].tolist()


def test_naive_reading_at_rate_zero_is_reading_without():
    cfg = baseline("smoke", "sliding window").replace(naive_rates=(0.0, 1.0))
    off, none, naive = runs.read_all(cfg, runs.build(cfg).eval())
    assert none["loss"].to_numpy() == pytest.approx(off["loss"].to_numpy(), abs=1e-5)
    assert abs(naive["loss"] - off["loss"]).max() > 1e-3


def test_an_interrupted_training_goes_on_bitwise(own_store, monkeypatch):
    cfg = baseline("smoke", "TTT-E2E")
    cfg = cfg.replace(train__steps=6, train__checkpoint_every=3, train__log_every=1, rate_warmup=0.5)
    whole = train_and_read(cfg)
    for place in (own_store / "models").rglob("*.safetensors"):
        place.unlink()

    class Power(Exception):
        pass

    taken = []
    real = runs.meta_loss

    def fails_at_five(model, batch):
        taken.append(1)
        if len(taken) == 5:
            raise Power
        return real(model, batch)

    monkeypatch.setattr(runs, "meta_loss", fails_at_five)
    with pytest.raises(Power):
        train_and_read(cfg)
    again = train_and_read(cfg)
    assert len(taken) == 5 + 3, "steps 4 to 6 anew"
    pd.testing.assert_frame_equal(whole, again)


def test_a_training_that_is_read_again_reads_at_the_rate_it_was_trained_to(own_store):
    cfg = RunConfig.at("smoke", rate_warmup=1.0)
    first, second = train_and_read(cfg), train_and_read(cfg)
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    risen = 0.1 + 0.9 * (cfg.train.steps - 1) / cfg.train.steps  # of the last step; the learned part is all but 1
    assert second["trained_rate"].iloc[0] == pytest.approx(risen * cfg.inner.rate, rel=0.02)


def test_a_model_better_than_the_language_allows_is_caught():
    best = torch.rand(50, 8, generator=Generator().manual_seed(0))
    check_leak(best - 0.001 * torch.randn(50, 8, generator=Generator().manual_seed(1)), best, "honest")
    with pytest.raises(RuntimeError, match=r"cheat is 0\.0500 nats better than any predictor"):
        check_leak(best - 0.05, best, "cheat")


def test_a_reader_that_scores_after_learning_fails_its_run(monkeypatch):
    """The usual leak: the loss of a chunk with weights that have learnt it, here often enough to know it by heart."""
    cfg = baseline("smoke", "TTT-E2E", inner__chunk=1, inner__rate=1.0).replace(
        texts=16, read_length=16, naive_rates=()
    )
    honest, model = TTTModel.read_chunk, runs.build(cfg).eval()

    def scores_what_it_has_learnt(self, carry, *chunk):
        for _ in range(30):
            _, after = honest(self, carry, *chunk)
            carry = Carry(after.fast, carry.states)
        return honest(self, carry, *chunk)

    runs.read_all(cfg, model)
    monkeypatch.setattr(TTTModel, "read_chunk", scores_what_it_has_learnt)
    with pytest.raises(RuntimeError, match="it scores something that it has learnt from already"):
        runs.read_all(cfg, model)


def test_stretches_cover_each_position_once():
    losses = torch.arange(100.0).repeat(3, 1)
    table = by_position(losses, losses - 1, resolution=0)
    assert list(zip(table["start"], table["stop"], strict=True)) == [(0, 16), (16, 32), (32, 64), (64, 100)]
    assert table["loss"].tolist() == [7.5, 23.5, 47.5, 81.5]
    assert table["best"].tolist() == [6.5, 22.5, 46.5, 80.5]
    single = by_position(losses, None, resolution=1)
    assert single["loss"].tolist() == list(range(100))
    assert all(math.isnan(value) for value in single["best"])


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"model__vocab": 17}, "model.vocab is 17, but the text has 16 tokens"),
        ({"corpus": "bytes"}, "the text has 128 tokens"),
        ({"texts": 0}, "at least 1"),
        ({"rate_warmup": 1.5}, "rate_warmup"),
        ({"resolution": 4}, "resolution is 4"),
        ({"naive_rates": (0.1, math.nan)}, r"naive_rates is \(0.1, nan\); expected each at least 0"),
        ({"naive_rates": (-1.0,)}, "naive_rates is"),
        ({"model__bind_rate": math.nan}, "bind_rate is nan"),
        ({"model__bind_clip": 0.0}, "bind_clip is 0.0"),
        ({"model__theta": -1.0}, "theta is -1.0"),
    ],
)
def test_a_bad_peer_is_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        RunConfig().replace(**fields)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"length": 0}, "length is 0; expected at least 1"),
        ({"asked": 0}, "asked is 0"),
        ({"counts": (1, 0)}, "counts is"),
        ({"model__vocab": 16}, "model.vocab is 16, but the text has"),
    ],
)
def test_bad_questions_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        RecallConfig().replace(**fields)


@pytest.mark.parametrize("steps", [1, 6, 60])
def test_the_rate_rises_a_step_behind_the_code_of_the_paper(steps):
    """The code of arXiv 2512.23675: init + (1 - init) * min(1, (step + 1) / steps), with an init of a tenth."""
    model, warmup = torch.nn.Identity(), runs.RateWarmup(float(steps))
    ours = []
    for step in range(2 * steps):
        warmup.before_step(step, model)
        ours.append(model.rate_factor)
    theirs = [0.1 + 0.9 * min(1, (step + 1) / steps) for step in range(2 * steps)]
    assert ours[0] == pytest.approx(0.1)
    assert ours[1:] == pytest.approx(theirs[:-1])
