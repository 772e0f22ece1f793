"""What is not finite ends a run by name, and is never saved or read as if it were a result."""

import json

import pytest
import torch
from safetensors.torch import save
from small_run import TRAIN, assert_same, make_model, run, weights
from torch import nn

from lablib.train.checkpoint import CheckpointError, Running, load_model, read_checkpoint, save_checkpoint
from lablib.train.hooks import Hook
from lablib.train.losses import next_token_loss
from lablib.train.optim import OptimConfig, build_optimizer

LAST = TRAIN.steps - 1


class Spoil(torch.autograd.Function):
    """The identity, whose gradient is `value`: the loss stays finite."""

    @staticmethod
    def forward(ctx, x, value):
        ctx.value = value
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return torch.full_like(grad, ctx.value), None


class SpoiledAt(Hook):
    """From `step` on the gradient of the head is `value`."""

    def __init__(self, step: int, value: float):
        self.step, self.value, self.now, self.before = step, value, 0, {}

    def before_step(self, step: int, model: nn.Module) -> None:
        self.now, self.before = step, weights(model)

    def objective(self, model, batch):
        loss, logits = next_token_loss(model, batch)
        if self.now >= self.step:
            loss = loss + 0.0 * Spoil.apply(model.head.weight, self.value).sum()
        return loss, logits


@pytest.mark.parametrize("step", [0, 3, 5, LAST])  # the first, one that is saved, one that is logged, the last
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_gradient_that_is_not_finite_ends_the_run_by_name_and_in_every_fresh_process_again(step, value, tmp_path):
    for _ in range(2):
        hook, model = SpoiledAt(step, value), make_model()
        with pytest.raises(FloatingPointError, match=rf"at step {step} the gradient of head\.weight is not finite"):
            run(model, hooks=[hook], objective=hook.objective, checkpoint=tmp_path / "run")
        assert_same(hook.before, weights(model))
        if (tmp_path / "run").exists():
            facts, tensors = read_checkpoint(tmp_path / "run")
            assert facts["step"] == step // TRAIN.checkpoint_every * TRAIN.checkpoint_every
            assert all(tensor.isfinite().all() for tensor in tensors.values())
        else:
            assert step < TRAIN.checkpoint_every


def test_finite_gradients_whose_norm_overflows_are_not_taken_for_none():
    hook = SpoiledAt(4, 1e30)
    with pytest.raises(FloatingPointError, match="the norm of the gradient overflows at step 4"):
        run(hooks=[hook], objective=hook.objective)


@pytest.mark.parametrize("saved", [False, True])
def test_weights_that_the_last_update_makes_infinite_are_no_finished_run(saved, tmp_path):
    def objective(model, batch):
        loss, logits = next_token_loss(model, batch)
        return loss + (0.0 * model.spare).sum(), logits

    model = make_model()
    model.spare = nn.Parameter(torch.full((2, 2), 3e38))  # decayed by 1 - 5: beyond what float32 holds
    cfg = TRAIN.replace(steps=1, optim=OptimConfig(lr=1.0, weight_decay=5.0), schedule__warmup=0)
    place = {"checkpoint": tmp_path / "run"} if saved else {}
    with pytest.raises(FloatingPointError, match=r"after 1 steps the weight of spare is not finite"):
        run(model, cfg, objective=objective, **place)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_weights_that_are_not_finite_are_neither_saved_nor_read(value, tmp_path):
    model, path = make_model(), tmp_path / "run"
    run(model, checkpoint=path)
    facts, tensors = read_checkpoint(path)
    tensors["model/head.weight"][1, 2] = value  # as older code has saved it
    path.write_bytes(save(tensors, metadata={"json": json.dumps(facts)}))
    said = r"run is of a run that diverged \(the weight of head\.weight is not finite"
    for read in (lambda: run(checkpoint=path), lambda: load_model(path, make_model())):
        with pytest.raises(CheckpointError, match=said):
            read()
    before = path.read_bytes()
    model.head.weight.data[0, 0] = value
    with pytest.raises(FloatingPointError, match=r"after 3 steps the weight of head\.weight"):
        save_checkpoint(path, Running(model, build_optimizer(model, OptimConfig()), torch.Generator(), "a"), 3, [])
    assert path.read_bytes() == before


def test_a_gradient_of_16_bits_is_clipped_by_its_true_norm():
    """Its squares end at 65 504 = 255.9^2; a model of 16 bits still moves by the clip."""
    from lablib.train.loop import clip_gradients

    model = nn.Linear(64, 1, bias=False).half()
    model.weight.grad = torch.full((1, 64), 3000.0).half()
    clip_gradients(model, 8.0, 0)
    torch.testing.assert_close(model.weight.grad, torch.ones(1, 64).half(), rtol=1e-3, atol=0)
