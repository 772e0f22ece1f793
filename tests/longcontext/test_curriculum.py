"""The trainer does at every step what the stages say, and stops and goes on to the bit."""

import functools

import pandas as pd
import pytest
import torch
from pandas.testing import assert_frame_equal
from torch import Generator

from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.adaptive import AdaptiveMix, AdaptiveWindow, LengthBandit
from lablib.longcontext.curriculum import Rows, train_curriculum
from lablib.longcontext.monitor import SeesawMonitor
from lablib.longcontext.retrieval_loss import with_retrieval_loss
from lablib.longcontext.stages import KINDS, Curriculum, Mix, Stage
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.checkpoint import CheckpointError
from lablib.train.hooks import Hook
from lablib.train.schedule import ScheduleConfig

DATA = RetrievalConfig(length=32, max_distance=24, num_keys=4, num_values=4, num_noise=4, copy_lag=8)
EVEN = Mix(retrieval=1.0, reasoning=1.0, plain=1.0, copied=1.0)
CURRICULUM = Curriculum(
    stages=(
        Stage(start=0, stop=5, lengths=(32,), window=4, top_k=None, mix=EVEN),
        Stage(
            start=5, stop=12, lengths=(32, 64), window=16, top_k=2, mix=EVEN, transition="linear", transition_steps=4,
            rate="warm up again",
        ),
    ),
    tokens=128, log_every=1, checkpoint_every=3, schedule=ScheduleConfig(warmup=2),
)  # fmt: skip


class Stop(Exception):
    """A run that is killed."""


class StopAt(Hook):
    def __init__(self, step: int):
        self.step = step

    def before_step(self, step, model):
        if step == self.step:
            raise Stop


def nothing(rows):
    return []


def run(place=None, hooks=nothing, curriculum=CURRICULUM, seed=0, **options):
    model = LanguageModel(
        ModelConfig(vocab=DATA.vocab, width=8, chunk=4, window=4, top_k=2), Generator().manual_seed(seed)
    )
    rows = Rows(options.pop("data", DATA))
    table = train_curriculum(
        model, curriculum, rows, Generator().manual_seed(7), hooks=hooks(rows), checkpoint=place, **options
    )
    return model, table


def everything(rows):
    """All that steers and keeps a state of its own."""
    return [
        AdaptiveMix(rows, every=2, seed=1, batch=4),
        LengthBandit(rows, every=2, seed=2, batch=4),
        AdaptiveWindow(rows, [4, 8, 16], every=2, seed=3, batch=4, enough=0.2, little=0.1),
        SeesawMonitor(rows, [32, 64], every=2, seed=4, questions=4, act="raise"),
    ]


@functools.cache
def uninterrupted(hooks=nothing):
    """A whole run without a checkpoint, which several tests hold theirs against and none changes."""
    return run(hooks=hooks)


def test_every_step_has_the_window_the_chunks_and_the_length_of_its_stage():
    model, table = uninterrupted()
    assert table["stage"].tolist() == [0] * 5 + [1] * 7
    steps = range(12)
    assert table["window"].tolist() == [CURRICULUM.window_at(step) for step in steps]
    assert table["top_k"].tolist() == [CURRICULUM.top_k_at(step, 4) for step in steps]
    assert table["rate"].tolist() == [CURRICULUM.rate_at(step) for step in steps]
    assert set(table["row_length"][:5]) == {32}
    assert set(table["row_length"][5:]) == {32, 64}
    assert (model.window, model.top_k) == (16, 2)


@pytest.mark.parametrize("stop", [2, 4, 5, 6, 8, 11], ids=lambda step: f"killed before step {step}")
@pytest.mark.parametrize("hooks", [nothing, everything], ids=["stages", "everything adaptive"])
def test_a_resumed_curriculum_is_bitwise_the_uninterrupted_one(stop, hooks, tmp_path):
    whole, table = uninterrupted(hooks)
    with pytest.raises(Stop):
        run(tmp_path / "cut", lambda rows: [*hooks(rows), StopAt(stop)])
    resumed, again = run(tmp_path / "cut", hooks, seed=0 if stop < 3 else 99)
    assert_frame_equal(table, again, check_exact=True)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    assert resumed.cfg == whole.cfg


def test_the_adaptive_hooks_are_felt():
    plain, steered = uninterrupted()[1], uninterrupted(everything)[1]
    assert not plain["loss"].equals(steered["loss"])
    assert {"accuracy_retrieval_32", "accuracy_reasoning_64", "hsa_alone", "recall_64", "drawn_length"} <= set(steered)


def test_a_monitor_that_warns_changes_nothing():
    _, plain = uninterrupted()
    _, watched = run(hooks=lambda rows: [SeesawMonitor(rows, [32, 64], every=2, seed=4, questions=4)])
    assert_frame_equal(plain, watched[plain.columns], check_exact=True)


def test_a_finished_curriculum_is_read_with_its_last_window(tmp_path):
    run(tmp_path / "done")
    model, table = run(tmp_path / "done", seed=99)
    assert len(table) == 12
    assert (model.window, model.top_k) == (16, 2)


@pytest.mark.parametrize("again", [False, True], ids=["trained", "read"])
def test_a_look_after_the_last_step_does_not_change_what_was_trained(again, tmp_path):
    """The adaptive window would widen at each look, also at the last one: no step was trained with that."""

    def widen(rows):
        return [AdaptiveWindow(rows, [4, 8, 12, 16, 20], every=3, seed=3, batch=4, enough=0.0, little=0.0)]

    for _ in range(1 + again):
        model, table = run(tmp_path / "run", widen)
    assert table["window"].tolist() == [4] * 3 + [8] * 3 + [12] * 3 + [16] * 3
    assert model.window == 16


def test_a_checkpoint_of_other_stages_other_rows_or_other_hooks_is_refused(tmp_path):
    run(tmp_path / "run")
    other = CURRICULUM.replace(stages=(CURRICULUM.stages[0], CURRICULUM.stages[1].replace(window=8)))
    for change in ({"curriculum": other}, {"data": DATA.replace(num_pairs=2)}):
        with pytest.raises(CheckpointError, match="configuration has changed"):
            run(tmp_path / "run", **change)
    with pytest.raises(CheckpointError, match=r"state of the hooks \[\], this run has \['AdaptiveMix', 'LengthBandit'"):
        run(tmp_path / "run", everything)


def test_the_state_of_another_kind_of_hook_is_refused(tmp_path):
    run(tmp_path / "run", lambda rows: [LengthBandit(rows, every=2, seed=2, batch=4)])
    with pytest.raises(CheckpointError, match=r"\['LengthBandit'\], this run has \['AdaptiveWindow'\]"):
        run(tmp_path / "run", lambda rows: [AdaptiveWindow(rows, [4, 8], every=2, seed=3, batch=4)])


def test_without_a_share_the_retrieval_loss_is_off():
    _, plain = uninterrupted()
    _, off = run(objective=with_retrieval_loss(0.0))
    _, on = run(objective=with_retrieval_loss(0.5))
    assert_frame_equal(plain, off, check_exact=True)
    assert (on["loss"] > plain["loss"])[0]


# ---- the rows


def drawn(rows: Rows, tokens: int, times: int) -> list:
    generator = Generator().manual_seed(5)
    return [rows(tokens, generator) for _ in range(times)]


def test_lengths_come_as_often_as_their_weights_say():
    rows = Rows(DATA)
    rows.lengths, rows.length_weights = (32, 64), [3.0, 1.0]
    lengths = pd.Series([batch.tokens.shape[1] for batch in drawn(rows, 64, 600)])
    share, error = (lengths == 64).mean(), (0.25 * 0.75 / 600) ** 0.5
    assert abs(share - 0.25) < 4 * error


def test_kinds_come_as_often_as_their_weights_say():
    rows = Rows(DATA)
    rows.kind_weights = [0.0, 0.0, 3.0, 1.0]
    batches = drawn(rows, 32 * 20, 60)
    plain = torch.cat([(batch.evidence < 0).all(dim=1) for batch in batches]).float().mean()
    error = (0.25 * 0.75 / 1200) ** 0.5
    assert abs(float(plain) - 0.75) < 4 * error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("length", [32, 64])
def test_each_row_counts_as_one_and_batches_hold_equal_tokens(kind, length):
    rows = Rows(DATA)
    rows.lengths, rows.kind_weights = (length,), [float(kind == name) for name in KINDS]
    batch = rows(256, Generator().manual_seed(1))
    assert batch.tokens.shape == (256 // length, length)
    assert torch.allclose(batch.weight.sum(dim=1), torch.ones(len(batch.weight)))
    counted = batch.weight > 0
    assert not counted[:, -1].any(), "what follows the row is not known"
    assert torch.equal(batch.targets[counted], batch.tokens.roll(-1, dims=1)[counted])


def test_distances_grow_with_the_row():
    batch = Rows(DATA).source("retrieval", 256)(200, Generator().manual_seed(2))
    row, at = (batch.evidence >= 0).nonzero(as_tuple=True)
    distance = at - batch.evidence[row, at]
    assert distance.max() > 150
    assert distance.max() <= 24 * 8 + 4


def test_a_copied_row_repeats_its_first_half_and_only_the_copy_counts():
    batch = Rows(DATA).source("copied", 64)(5, Generator().manual_seed(3))
    assert torch.equal(batch.tokens[:, :32], batch.tokens[:, 32:])
    assert (batch.weight[0] > 0).nonzero().flatten().tolist() == list(range(31, 63))
    at = torch.arange(31, 63)
    assert torch.equal(batch.tokens.gather(1, batch.evidence[:, at]), batch.targets[:, at])
