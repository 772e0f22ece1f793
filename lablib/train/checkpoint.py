"""Checkpoints: one safetensors file with the tensors, and JSON in its header for everything else.

One file, so that it is replaced whole: a reader sees the last complete checkpoint or the one before, never a mixture.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, nn

from lablib.core.store import write_atomically
from lablib.train.hooks import Hook

FORMAT = "lablib-checkpoint-1"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this run; says what was expected and what to do."""


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: Generator,
    run: str,
    step: int,
    rows: list[dict[str, Any]],
    hooks: Sequence[Hook] = (),
) -> None:
    """Write model, optimiser, generator, hooks, step and table rows atomically. `run` names the configuration."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    state = optimizer.state_dict()
    for index, slots in state["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    tensors["generator/data"] = generator.get_state()
    tensors["generator/global"] = torch.get_rng_state()
    kept = [[type(hook).__name__, {name: getattr(hook, name) for name in hook.kept}] for hook in hooks if hook.kept]
    facts = {"format": FORMAT, "run": run, "step": step, "rows": rows, "groups": state["param_groups"], "hooks": kept}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(tensors, metadata={"json": json.dumps(facts)}))


def load_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    generator: Generator,
    run: str,
    hooks: Sequence[Hook] = (),
) -> tuple[int, list[dict[str, Any]]]:
    """Restore everything in place; returns the steps done and the table rows so far.

    Raises CheckpointError for a truncated file, a file of another kind, and a checkpoint of another run.
    """
    facts, tensors = read_checkpoint(path)
    if facts["run"] != run:
        raise CheckpointError(
            f"{path.name} belongs to run {facts['run']}, not to {run}: the configuration has changed; "
            "delete the file or give another folder"
        )
    states, hooks = facts.get("hooks", []), [hook for hook in hooks if hook.kept]
    names, expected = [name for name, _ in states], [type(hook).__name__ for hook in hooks]
    if names != expected:
        raise CheckpointError(
            f"{path.name} holds the state of the hooks {names}, this run has {expected}; "
            "give the same hooks, or delete the file to start anew"
        )
    _load_model(path, model, tensors)
    for hook, (_, state) in zip(hooks, states, strict=True):
        for name in hook.kept:
            setattr(hook, name, state[name])
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, index, slot = name.split("/")
            slots.setdefault(int(index), {})[slot] = value
    optimizer.load_state_dict({"state": slots, "param_groups": facts["groups"]})
    generator.set_state(tensors["generator/data"])
    torch.set_rng_state(tensors["generator/global"])
    return facts["step"], facts["rows"]


def load_model(path: Path, model: nn.Module) -> None:
    """Only the weights of a checkpoint, into a model of the same shape."""
    _load_model(path, model, read_checkpoint(path)[1])


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """The facts and the tensors of a checkpoint; raises CheckpointError if it is not whole or not ours."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("json", "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        expected = "expected a whole safetensors file: delete it to start anew"
        raise CheckpointError(f"{path.name} cannot be read as a checkpoint ({error}); {expected}") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise CheckpointError(f"{path.name} was not written by this lab: its format is {found!r}, expected {FORMAT!r}")
    return facts, tensors


def _load_model(path: Path, model: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    weights = {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(f"{path.name} holds another model than the one asked for: {error}") from error
