"""What a distillation loss keeps: the logits of all tokens, or the gradients alone."""

import importlib.util

import pytest

from lablib.efficiency.experiments import loss as losses
from lablib.efficiency.experiments.loss import LossConfig, loss, loss_arms


def test_all_logits_grow_with_the_vocabulary_times_the_tokens_and_chunks_do_not():
    cfg = LossConfig(tokens=512, width=8, vocab=256, repeats=1)
    whole, chunked = (loss.function(cfg.replace(provider=name)) for name in ("all logits", "by chunk"))
    assert whole["kept_bytes"].item() == pytest.approx(2 * 4 * 512 * 256, rel=0.01)
    assert chunked["kept_bytes"].item() == 4 * 8 * (512 + 256)
    assert max(whole["error"].item(), chunked["error"].item()) < 1e-5


def test_liger_keeps_the_same_and_is_near():
    cfg = LossConfig(tokens=64, width=8, vocab=32, repeats=1)
    own, theirs = (loss.function(cfg.replace(provider=name)) for name in ("by chunk", "Liger"))
    assert theirs["kept_bytes"].item() == own["kept_bytes"].item()
    assert theirs["error"].item() < 1e-5


def test_liger_that_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="liger-kernel is not installed"):
        losses.providers(LossConfig(provider="Liger"))


def test_who_has_no_oracles_runs_the_labs_own_ways():
    assert all(cfg.provider != "Liger" for scale in ("smoke", "lab") for cfg in loss_arms(scale))
    assert {cfg.vocab for cfg in loss_arms("full") if cfg.provider == "Liger"} == {2048, 8192, 32_768}
