"""The monitor is silent on a steady signal, loud on a planted fade, and acts as it was told."""

import math

import pytest
import torch
from torch import Generator

from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.ablation import without_retrieval
from lablib.longcontext.curriculum import Rows
from lablib.longcontext.monitor import SeesawMonitor, faded, raised, watch_shares
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig

DATA = RetrievalConfig(length=32, max_distance=24)


def steady(level: float, questions: int, number: int, seed: int) -> list[float]:
    generator = Generator().manual_seed(seed)
    return (torch.rand(number, questions, generator=generator) < level).float().mean(dim=1).tolist()


@pytest.mark.parametrize("level", [1.0, 0.95, 0.6, 0.1, 0.0])
def test_silent_on_a_steady_signal(level):
    for seed in range(40):
        recalls = steady(level, 50, 12, seed)
        assert not any(faded(recalls[:n], 50) for n in range(13))


@pytest.mark.parametrize("low", [0.0, 0.3, 0.6])
def test_loud_on_a_planted_fade_after_two_looks_and_not_before(low):
    before, after = steady(0.97, 50, 6, 1), steady(low, 50, 4, 2)
    heard = [faded((before + after)[:n], 50) for n in range(11)]
    assert heard == [False] * 8 + [True] * 3


def test_one_bad_look_and_a_small_loss_are_no_fade():
    assert not faded([1.0, 1.0, 0.2, 1.0], 50)
    assert not faded([1.0, 1.0, 0.93, 0.92], 400), "less than the drop"
    assert not faded([0.6, 0.6, 0.4, 0.4], 10), "ten questions cannot tell"
    assert faded([0.6, 0.6, 0.4, 0.4], 400)


def test_nothing_is_said_of_what_was_not_measured():
    assert not faded([], 50)
    assert not faded([1.0, 0.0], 50)
    assert faded([1.0, math.nan, 0.0, math.nan, 0.0], 50)


def make_model(window: int = 8) -> LanguageModel:
    cfg = ModelConfig(vocab=DATA.vocab, width=8, chunk=4, window=window, top_k=2)
    return LanguageModel(cfg, Generator().manual_seed(0))


def monitored(act: str):
    lines: list[str] = []
    rows = Rows(DATA)
    monitor = SeesawMonitor(rows, (32,), every=1, seed=0, questions=50, act=act, tell=lines.append)
    return monitor, rows, lines


def look(monitor: SeesawMonitor, recalls: list[float], windows: list[int]) -> None:
    """The monitor as if it had measured these recalls under these windows."""
    model = make_model()
    for step, (recall, window) in enumerate(zip(recalls, windows, strict=True)):
        model.set_reading(window, 2)
        monitor.before_step(step, model)
        monitor.recall = lambda model, length, recall=recall: recall
        monitor.at_eval(step, model, {})


def test_a_fade_is_told_in_one_line():
    monitor, _, lines = monitored("warn")
    look(monitor, [1.0, 1.0, 0.1, 0.1], [4, 8, 16, 16])
    assert lines == ["step 4: recall at 32 tokens has faded from 1.00 to 0.10"]
    assert monitor.held is None
    assert monitor.raised == 1


def test_hold_goes_back_to_the_narrowest_window_of_the_best_recall():
    monitor, _, lines = monitored("hold")
    look(monitor, [0.9, 1.0, 0.1, 0.1], [4, 8, 16, 16])
    model = make_model(window=16)
    monitor.before_step(5, model)
    assert model.window == monitor.held == 8
    assert "held at 8" in lines[0]


def test_raise_draws_more_of_what_needs_retrieval_and_stops_at_eight_times():
    monitor, rows, lines = monitored("raise")
    look(monitor, [1.0, 1.0] + [0.0] * 8, [8] * 10)
    rows.kind_weights = [1.0, 0.5, 2.0, 0.0]
    monitor.before_step(10, make_model())
    assert rows.kind_weights == [8.0, 4.0, 2.0, 0.0] == raised([1.0, 0.5, 2.0, 0.0], 8.0)
    assert "drawn 2 times" in lines[0]
    assert "drawn 8 times" in lines[-1]


def test_an_unknown_act_is_refused():
    with pytest.raises(Exception, match="panic"):  # by its type under the test's checks, else by a ValueError
        SeesawMonitor(Rows(DATA), [32], every=1, seed=0, act="panic")


def test_the_global_share_is_that_of_the_two_outputs():
    model, tokens = make_model(), torch.randint(16, (2, 24), generator=Generator().manual_seed(3))
    block, outputs = model.upper[0], {}
    for name, mixer in zip(("swa", "hsa"), block.mixers, strict=True):
        mixer.part.register_forward_hook(lambda m, given, out, name=name: outputs.update({name: out[0].norm(dim=-1)}))
    with watch_shares(model) as shares:
        model(tokens)
        expected = (outputs["hsa"] / (outputs["hsa"] + outputs["swa"])).mean()
    with without_retrieval(model), watch_shares(model) as taken_away:
        model(tokens)
    assert shares[0] == pytest.approx(float(expected.detach()))
    assert 0 < shares[0] < 1
    assert taken_away == [0.0]


def test_a_model_without_retrieval_has_no_share():
    model = LanguageModel(ModelConfig(vocab=DATA.vocab, width=8, plan="swa swa", window=4), Generator())
    with watch_shares(model) as shares:
        model(torch.zeros(1, 12, dtype=torch.long))
    assert math.isnan(shares[0])
