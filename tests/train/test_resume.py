"""A training run is the same to the bit twice, resumed or not."""

import math

import pytest
import torch
from pandas.testing import assert_frame_equal
from small_run import TRAIN, assert_same, make_model, run, weights
from torch import nn

from lablib.train.checkpoint import read_checkpoint
from lablib.train.hooks import Hook


class Forgetful(nn.Module):
    """A model whose forward pass draws from torch's global generator."""

    def __init__(self):
        super().__init__()
        self.model, self.drop = make_model(), nn.Dropout(0.3)

    def forward(self, tokens):
        return self.drop(self.model(tokens))


class Stop(Exception):
    """A training run that is killed."""


class StopAt(Hook):
    def __init__(self, step: int, moment: str):
        self.step, self.moment = step, moment

    def before_step(self, step, model):
        self._stop("before_step", step)

    def after_backward(self, step, model, batch, logits, row):
        self._stop("after_backward", step)

    def at_eval(self, step, model, row):
        self._stop("at_eval", step)

    def _stop(self, moment, step):
        if (moment, step) == (self.moment, self.step):
            raise Stop


class Measure(Hook):
    """A column from each moment, one of them not a number."""

    def after_backward(self, step, model, batch, logits, row):
        row["grad"] = float(model.head.weight.grad.norm()) if hasattr(model, "head") else 0.1 + 0.2
        row["gap"] = math.nan if step % 2 else 1 / 3

    def at_eval(self, step, model, row):
        row["norm"] = float(sum(p.detach().square().sum() for p in model.parameters()))


def test_two_runs_are_bitwise_equal():
    (one, first), (other, second) = run(hooks=[Measure()]), run(hooks=[Measure()])
    assert_same(weights(one), weights(other))
    assert_frame_equal(first, second, check_exact=True)
    assert not torch.equal(one.head.weight, make_model().head.weight), "nothing was trained"


def test_another_seed_of_the_data_is_another_run():
    assert not torch.equal(run(seed=7)[0].head.weight, run(seed=8)[0].head.weight)


STOPS = [
    (0, "before_step"),  # before anything was kept
    (4, "before_step"),  # right after a checkpoint
    (6, "before_step"),  # between two: steps are repeated
    (5, "after_backward"),  # on a logged step
    (8, "at_eval"),  # after the update, before its row is kept
    (10, "at_eval"),  # in the last step
]


@pytest.mark.parametrize(("step", "moment"), STOPS, ids=[f"{moment} {step}" for step, moment in STOPS])
def test_a_resumed_run_is_bitwise_the_uninterrupted_one(step, moment, tmp_path):
    whole, table = run(hooks=[Measure()], checkpoint=tmp_path / "whole")
    with pytest.raises(Stop):
        run(hooks=[Measure(), StopAt(step, moment)], checkpoint=tmp_path / "cut")
    # a new process begins with other weights and another generator: all must come from the file
    kept = step >= TRAIN.checkpoint_every
    resumed, again = run(make_model(99 if kept else 0), seed=99 if kept else 7, hooks=[Measure()],
                         checkpoint=tmp_path / "cut")  # fmt: skip
    assert_same(weights(whole), weights(resumed))
    assert_frame_equal(table, again, check_exact=True)
    (facts, tensors), (others, same) = (read_checkpoint(tmp_path / name) for name in ("whole", "cut"))
    assert_same(tensors, same)
    assert str(facts) == str(others)


def test_resuming_twice_is_still_the_uninterrupted_run(tmp_path):
    whole, table = run()
    for step in (5, 9):
        with pytest.raises(Stop):
            run(hooks=[StopAt(step, "before_step")], checkpoint=tmp_path / "cut")
    resumed, again = run(checkpoint=tmp_path / "cut")
    assert_same(weights(whole), weights(resumed))
    assert_frame_equal(table, again, check_exact=True)


def test_a_model_that_draws_from_the_global_generator_resumes_bitwise_too(tmp_path):
    whole, table = run(Forgetful())
    with pytest.raises(Stop):
        run(Forgetful(), hooks=[StopAt(6, "before_step")], checkpoint=tmp_path / "cut")
    resumed, again = run(Forgetful(), seed=99, checkpoint=tmp_path / "cut")
    assert_same(weights(whole), weights(resumed))
    assert_frame_equal(table, again, check_exact=True)


@pytest.mark.parametrize("fusion", ["softmax", "concat"])
def test_parameters_without_a_gradient_resume_too(fusion, tmp_path):
    whole, _ = run(make_model(fusion=fusion))
    with pytest.raises(Stop):
        run(make_model(fusion=fusion), hooks=[StopAt(6, "before_step")], checkpoint=tmp_path / "cut")
    assert_same(weights(whole), weights(run(make_model(fusion=fusion), checkpoint=tmp_path / "cut")[0]))


def test_a_finished_run_is_read_and_not_trained(tmp_path):
    whole, table = run(checkpoint=tmp_path / "run")
    before = (tmp_path / "run").read_bytes()

    def refuse(batch, generator):
        raise AssertionError("nothing is left to train")

    read, again = run(make_model(99), draw=refuse, checkpoint=tmp_path / "run")
    assert_same(weights(whole), weights(read))
    assert_frame_equal(table, again, check_exact=True)
    assert (tmp_path / "run").read_bytes() == before


def test_keeping_checkpoints_changes_nothing(tmp_path):
    (one, first), (other, second) = run(), run(checkpoint=tmp_path / "run")
    assert_same(weights(one), weights(other))
    assert_frame_equal(first, second, check_exact=True)
