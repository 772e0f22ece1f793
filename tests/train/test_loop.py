"""A step is draw, loss, clip and update; hooks are called when they are promised to be."""

import pandas as pd
import pytest
import torch
from small_run import DATA, TRAIN, assert_same, make_model, run, weights
from torch import Generator, nn

from lablib.data.batch import Batch
from lablib.data.retrieval import training_batch
from lablib.train.checkpoint import read_checkpoint
from lablib.train.hooks import Hook
from lablib.train.loop import TrainConfig
from lablib.train.losses import cross_entropy
from lablib.train.optim import build_optimizer
from lablib.train.schedule import factor

# ---- what a step is


def test_a_run_is_draw_loss_clip_and_step_by_hand():
    model, generator = make_model(), Generator().manual_seed(7)
    optimizer, losses = build_optimizer(model, TRAIN.optim), []
    for step in range(TRAIN.steps):
        batch = training_batch(DATA, TRAIN.batch, generator)
        loss = cross_entropy(model(batch.tokens), batch.targets, batch.weight)
        optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        for gradient in gradients:
            gradient.mul_(min(1.0, TRAIN.optim.clip / (float(norm) + 1e-6)))
        for group in optimizer.param_groups:
            group["lr"] = TRAIN.optim.lr * factor(TRAIN.schedule, step, TRAIN.steps)
        optimizer.step()
        losses.append(loss.item())
    trained, table = run()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trained.state_dict()[name], value, atol=1e-5, rtol=1e-4)
    assert table["loss"].tolist() == pytest.approx([losses[i] for i in (2, 5, 8, 10)], rel=1e-4)


def test_a_row_is_logged_every_so_many_steps_and_at_the_end():
    assert run()[1]["step"].tolist() == [3, 6, 9, 11]
    assert run(cfg=TRAIN.replace(steps=6))[1]["step"].tolist() == [3, 6]
    assert run(cfg=TRAIN.replace(steps=2))[1]["step"].tolist() == [2]


def always_three(batch: int, generator: Generator) -> Batch:
    """After whatever token comes a 3, and every prediction counts."""
    tokens = torch.randint(DATA.vocab, (batch, 8), generator=generator)
    return Batch(tokens, torch.full_like(tokens, 3), torch.ones(batch, 8), torch.full((batch, 8), -1))


def test_training_learns_what_can_be_learnt():
    _, table = run(cfg=TRAIN.replace(steps=40, optim__lr=0.02), draw=always_three)
    assert table["loss"].iloc[-1] < 0.2 < table["loss"].iloc[0]


# ---- hooks


class Diary(Hook):
    """Writes down when it was called and what it saw."""

    def __init__(self):
        self.calls, self.seen = [], {}

    def before_step(self, step, model):
        self.calls.append(("before_step", step))
        self.seen["before", step] = weights(model)

    def after_backward(self, step, model, batch, logits, row):
        self.calls.append(("after_backward", step))
        assert_same(self.seen["before", step], weights(model))
        loss = cross_entropy(model(batch.tokens), batch.targets, batch.weight)
        trained = [p for p in model.parameters() if p.grad is not None]
        gradients = torch.autograd.grad(loss, trained)
        for parameter, gradient in zip(trained, gradients, strict=True):
            torch.testing.assert_close(parameter.grad, gradient)  # there, and not yet clipped
        self.seen["norm", step] = float(torch.stack([gradient.norm() for gradient in gradients]).norm())
        assert not logits.requires_grad
        torch.testing.assert_close(logits, model(batch.tokens))
        assert row == {"step": step + 1, "loss": pytest.approx(loss.item())}
        row["from_backward"] = 1.0

    def at_eval(self, step, model, row):
        self.calls.append(("at_eval", step))
        before = self.seen["before", step]
        assert not torch.equal(before["head.weight"], model.head.weight), "after the update"
        row["from_eval"] = row["from_backward"] + 1


def test_hooks_are_called_at_the_moments_they_are_promised():
    diary = Diary()
    _, table = run(hooks=[diary])
    expected = []
    for step in range(TRAIN.steps):
        expected.append(("before_step", step))
        if step in (2, 5, 8, 10):
            expected += [("after_backward", step), ("at_eval", step)]
    assert diary.calls == expected
    assert list(table.columns) == ["step", "loss", "from_backward", "from_eval"]
    assert table["from_eval"].tolist() == [2.0] * 4
    assert max(diary.seen["norm", step] for step in (2, 5, 8, 10)) > TRAIN.optim.clip, "else clipping is not seen"


def test_hooks_are_called_in_their_order():
    class Add(Hook):
        def __init__(self, number):
            self.number = number

        def at_eval(self, step, model, row):
            row["x"] = 10 * row.get("x", 0) + self.number

    assert run(hooks=[Add(1), Add(2)])[1]["x"].tolist() == [12] * 4


def test_a_hook_may_steer_before_the_batch_is_drawn():
    class Switch(Hook):
        task = DATA

        def before_step(self, step, model):
            self.task = DATA.replace(num_pairs=1 if step < 6 else 2)

    seen, switch = [], Switch()

    def drawn(batch, generator):
        seen.append(switch.task.num_pairs)
        return training_batch(switch.task, batch, generator)

    run(hooks=[switch], draw=drawn)
    assert seen == [1] * 6 + [2] * 5


def test_a_hook_that_does_nothing_changes_nothing():
    assert_same(weights(run(hooks=[Hook()])[0]), weights(run()[0]))


# ---- what is refused


class Doomed(nn.Module):
    """A model that from some step on gives one token the logit `doom`."""

    def __init__(self):
        super().__init__()
        self.model, self.doom = make_model(), None

    def forward(self, tokens):
        logits = self.model(tokens)
        return logits if self.doom is None else logits.index_fill(-1, torch.tensor([3]), self.doom)


@pytest.mark.parametrize(("doom", "loss"), [("nan", "nan"), ("-inf", "inf")])
def test_a_loss_that_is_not_finite_ends_the_run_before_it_spoils_the_model(doom, loss, tmp_path):
    kept = {}

    class Break(Hook):
        def before_step(self, step, model):
            if step == 5:
                model.doom = float(doom)
                kept.update(weights(model))

    model = Doomed()
    with pytest.raises(FloatingPointError, match=rf"the loss is {loss} at step 5; lower the learning rate"):
        run(model, draw=always_three, hooks=[Break()], checkpoint=tmp_path / "run")
    assert_same(kept, weights(model))
    facts, tensors = read_checkpoint(tmp_path / "run")
    assert facts["step"] == 4
    assert all(tensor.isfinite().all() for tensor in tensors.values())


@pytest.mark.parametrize("field", ["steps", "batch", "log_every", "checkpoint_every"])
def test_a_run_of_nothing_is_refused(field):
    with pytest.raises(ValueError, match="expected at least 1"):
        TrainConfig(**{field: 0})


def test_the_table_is_one_row_a_logged_step():
    table = run()[1]
    assert isinstance(table, pd.DataFrame)
    assert table["loss"].dtype == float
    assert table["step"].dtype == int
