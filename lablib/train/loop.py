"""The training loop: draw, predict, update; log rows; checkpoint; resume bitwise."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.data.batch import Batch
from lablib.train.checkpoint import load_checkpoint, save_checkpoint
from lablib.train.hooks import Hook
from lablib.train.losses import next_token_loss, why_not_finite
from lablib.train.optim import OptimConfig, build_optimizer
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

    def faults(self) -> Iterator[tuple[bool, str]]:
        least = min(self.steps, self.batch, self.log_every, self.checkpoint_every)
        yield least < 1, "steps, batch, log_every and checkpoint_every must be at least 1"


def fit(
    model: nn.Module,
    draw: Callable[[int, Generator], Batch],
    cfg: TrainConfig,
    generator: Generator,
    *,
    hooks: Sequence[Hook] = (),
    checkpoint: Path | None = None,
    run: str | None = None,
    rate: Callable[[int], float] | None = None,
    objective: Callable[[nn.Module, Batch], tuple[Tensor, Tensor]] = next_token_loss,
) -> pd.DataFrame:
    """Train `model` in place on `draw(batch, generator)`; returns a row a logged step (`step`, `loss`, hooks' columns).

    With `checkpoint`, the run is saved there and a later call goes on where it stopped, bitwise as if it never had;
    `run` names it (default: by `cfg`), so that no other run takes it up.
    `rate` is the share of the peak learning rate by step (default: `cfg.schedule`); `objective` gives loss and logits.
    Raises FloatingPointError when the loss is no longer finite.
    """
    optimizer, run = build_optimizer(model, cfg.optim), run or cfg.digest()
    rate = rate or functools.partial(factor, cfg.schedule, num_steps=cfg.steps)
    start, rows = 0, []
    if checkpoint is not None and checkpoint.exists():
        start, rows = load_checkpoint(checkpoint, model, optimizer, generator, run, hooks)
    for step in range(start, cfg.steps):
        for hook in hooks:
            hook.before_step(step, model)
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * rate(step)
        batch = draw(cfg.batch, generator)
        loss, logits = objective(model, batch)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}{why_not_finite(batch, logits)}")
        optimizer.zero_grad()
        loss.backward()
        done = step + 1
        logged = done % cfg.log_every == 0 or done == cfg.steps
        row: dict[str, float] = {"step": done, "loss": loss.item()}
        for hook in hooks if logged else ():
            hook.after_backward(step, model, batch, logits.detach(), row)
        nn.utils.clip_grad_norm_(model.parameters(), cfg.optim.clip)
        optimizer.step()
        if logged:
            for hook in hooks:
                hook.at_eval(step, model, row)
            rows.append(row)
        if checkpoint is not None and (done % cfg.checkpoint_every == 0 or done == cfg.steps):
            save_checkpoint(checkpoint, model, optimizer, generator, run, done, rows, hooks)
    return pd.DataFrame(rows)
