"""The training loop: draw, predict, update; log rows; checkpoint; resume bitwise."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.nn.surgery import plain_module
from lablib.ops.grad_mode import outside_inference_mode
from lablib.ops.precision import wide
from lablib.train.checkpoint import Running, check_finite, load_checkpoint, save_checkpoint
from lablib.train.hooks import Hook, Settings
from lablib.train.losses import next_token_loss, why_not_finite
from lablib.train.optim import Multipliers, OptimConfig, as_configured, build_optimizer
from lablib.train.schedule import ScheduleConfig, factor


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Config):
    """A training run: `steps` of `batch` rows; a row of the table every `log_every` steps."""

    steps: int = 800
    batch: int = 32
    log_every: int = 20
    checkpoint_every: int = 400
    optim: OptimConfig = OptimConfig()
    schedule: ScheduleConfig = ScheduleConfig()

    limits: ClassVar = {"at least 1": "steps batch log_every checkpoint_every"}


@outside_inference_mode
@torch.enable_grad()
def fit(
    model: nn.Module,
    draw: Callable[[int, Generator], Any],
    cfg: TrainConfig,
    generator: Generator,
    *,
    hooks: Sequence[Hook] = (),
    checkpoint: Path | None = None,
    run: str | None = None,
    rate: Callable[[int], float] | None = None,
    objective: Callable[[nn.Module, Any], tuple[Tensor, Tensor]] = next_token_loss,
    multipliers: Callable[[str, nn.Parameter], Multipliers] = as_configured,
) -> pd.DataFrame:
    """Train `model` in place on `draw(batch, generator)`; returns a row a logged step (`step`, `loss`, hooks' columns).

    With `checkpoint`, the run is saved there and a later call goes on where it stopped, bitwise as if it never had;
    `run` names it (default: by `cfg`), so that no other run takes it up. `rate` is the share of the peak learning rate
    by step (default: `cfg.schedule`). `objective` gives loss and outputs (logits) of what `draw` gives. Hooks get the
    plain model. FloatingPointError for a loss, gradient or weight that is not finite: it is never saved.
    """
    optimizer, run = build_optimizer(model, cfg.optim, multipliers), run or cfg.digest()
    rate = rate or functools.partial(factor, cfg.schedule, num_steps=cfg.steps)
    plain, running = plain_module(model), Running(model, optimizer, generator, run, hooks, Settings(model, draw))
    start, rows = resumed(checkpoint, running, cfg.steps)
    for step in range(start, cfg.steps):
        for hook in hooks:
            hook.before_step(step, plain)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * rate(step)
        batch = draw(cfg.batch, generator)
        loss, outputs = objective(model, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}{why_not_finite(batch, outputs)}")
        optimizer.zero_grad()
        loss.backward()
        logged = (done := step + 1) % cfg.log_every == 0 or done == cfg.steps
        row: dict[str, float] = {"step": done, "loss": loss.item()}
        for hook in hooks if logged else ():
            hook.after_backward(step, plain, batch, outputs.detach(), row)
        clip_gradients(model, cfg.optim.clip, step)
        optimizer.step()
        if logged:
            check_update(model, optimizer, done)
            for hook in hooks:
                hook.at_eval(step, plain, row)
            rows.append(row)
        if checkpoint is not None and (done % cfg.checkpoint_every == 0 or done == cfg.steps):
            save_checkpoint(checkpoint, running, done, rows)
    optimizer.zero_grad()
    return pd.DataFrame(rows)


def resumed(checkpoint: Path | None, running: Running, steps: int) -> tuple[int, list[dict[str, Any]]]:
    """The steps done and the rows so far, with everything restored, where there is a checkpoint."""
    if checkpoint is None or not checkpoint.exists():
        return 0, []
    start, rows = load_checkpoint(checkpoint, running)
    if start >= steps and not running.settings.restored:  # a finished run, written before settings were kept
        for hook in running.hooks:
            hook.before_step(start - 1, plain_module(running.model))
    return start, rows


def clip_gradients(model: nn.Module, clip: float, step: int) -> None:
    """Cut the joint norm of the gradients to `clip`. FloatingPointError names those that are not finite."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    norm = nn.utils.get_total_norm([wide(gradient) for gradient in gradients])
    if not norm.isfinite():
        check_finite({name: p.grad for name, p in model.named_parameters()}, f"at step {step} the gradient")
        raise FloatingPointError(f"the norm of the gradient overflows at step {step}; lower the learning rate")
    nn.utils.clip_grads_with_norm_(model.parameters(), clip, norm)


def check_update(model: nn.Module, optimizer: torch.optim.Optimizer, done: int) -> None:
    """After an update all weights are finite (FloatingPointError), and the optimiser has all of them (RuntimeError)."""
    known = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    if new := [name for name, p in model.named_parameters() if p.requires_grad and id(p) not in known]:
        raise RuntimeError(f"{new[0]} is not trained: it was unfrozen or replaced during the run; do that before it")
    check_finite(dict(model.named_parameters()), f"after {done} steps the weight")
