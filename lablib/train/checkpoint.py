"""Checkpoints: one safetensors file with the tensors, and JSON in its header for everything else.

One file, so that it is replaced whole: a reader sees the last complete checkpoint or the one before, never a mixture.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, nn

from lablib.core.store import write_atomically
from lablib.nn.surgery import plain_name
from lablib.train.hooks import Hook, Settings, set_kept

FORMAT = "lablib-checkpoint-1"


class CheckpointError(ValueError):
    """A file that is no checkpoint of this run; says what was expected and what to do."""


class Running(NamedTuple):
    """A training run that goes on: what is trained and what trains it. `run` names the configuration."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    generator: Generator
    run: str
    hooks: Sequence[Hook] = ()
    settings: Settings | None = None


def save_checkpoint(path: Path, running: Running, step: int, rows: list[dict[str, Any]]) -> None:
    """Write model, optimiser, generator, hooks, settings, step and table rows atomically.

    Raises FloatingPointError for weights that are not finite.
    """
    model, optimizer, generator, run, hooks, settings = running
    check_finite(dict(model.named_parameters()), f"after {step} steps the weight")
    tensors = {f"model/{plain_name(name)}": value for name, value in model.state_dict().items()}
    state = optimizer.state_dict()
    for index, slots in state["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in slots.items()}
    tensors["generator/data"] = generator.get_state()
    tensors["generator/global"] = torch.get_rng_state()
    kept = [[type(hook).__name__, {name: getattr(hook, name) for name in hook.kept}] for hook in hooks if hook.kept]
    facts = {"format": FORMAT, "run": run, "step": step, "rows": rows, "groups": state["param_groups"], "hooks": kept}
    facts |= {"trained": _trained(model, optimizer), "settings": settings.changed() if settings else []}
    tensors = {name: value.detach().clone().contiguous() for name, value in tensors.items()}
    write_atomically(path, save(tensors, metadata={"json": json.dumps(facts)}))


def load_checkpoint(path: Path, running: Running) -> tuple[int, list[dict[str, Any]]]:
    """Restore everything in place; returns the steps done and the table rows so far.

    Raises CheckpointError for a truncated file, a file of another kind, a checkpoint of another run, and one in which
    other parameters were trained.
    """
    model, optimizer, generator, run, hooks, settings = running
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
    weights = _fitting(path, model, tensors)
    _check_trained(path, model, optimizer, facts, weights)
    model.load_state_dict(weights)
    for hook, (_, state) in zip(hooks, states, strict=True):
        for name in hook.kept:
            set_kept(hook, name, state[name])
    if settings is not None and "settings" in facts:
        settings.restore(facts["settings"])
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
    model.load_state_dict(_fitting(path, model, read_checkpoint(path)[1]))


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


def check_finite(tensors: Mapping[str, torch.Tensor | None], what: str) -> None:
    """FloatingPointError that names the tensors that hold a NaN or an infinite number."""
    bad = [plain_name(name) for name, value in tensors.items() if value is not None and not value.isfinite().all()]
    if bad:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        raise FloatingPointError(
            f"{what} of {', '.join(bad[:3])}{more} is not finite; lower the learning rate or the clip"
        )


def _fitting(path: Path, model: nn.Module, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint as the model's state. CheckpointError where they are another's, or not finite."""
    own = {plain_name(name): (name, value) for name, value in model.state_dict().items()}
    weights = {name.removeprefix("model/"): value for name, value in tensors.items() if name.startswith("model/")}
    weights = {plain_name(name): value for name, value in weights.items()}  # a compiled model may have written them
    apart = sorted(own.keys() ^ weights.keys())
    apart += [name for name in own if name in weights and own[name][1].shape != weights[name].shape]
    if apart:
        raise CheckpointError(
            f"{path.name} holds another model than the one asked for: {apart[0]} is in one only, or of another shape; "
            "give the model of that run, or delete the file to start anew"
        )
    names = {plain_name(name) for name, _ in model.named_parameters()}
    try:
        check_finite({name: value for name, value in weights.items() if name in names}, "the weight")
    except FloatingPointError as error:
        raise CheckpointError(f"{path.name} is of a run that diverged ({error}): delete it to start anew") from error
    return {own[name][0]: value for name, value in weights.items()}


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[str]:
    """The names of the optimiser's parameters, in its order."""
    names = {id(parameter): plain_name(name) for name, parameter in model.named_parameters()}
    return [names.get(id(parameter), "?") for group in optimizer.param_groups for parameter in group["params"]]


def _check_trained(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, facts: dict[str, Any], weights: dict[str, Any]
) -> None:
    """CheckpointError unless it trained the same parameters: by their places it gives them the optimiser's state."""
    now, before = _trained(model, optimizer), facts.get("trained")
    sizes = [[len(group["params"]) for group in groups] for groups in (facts["groups"], optimizer.param_groups)]
    if before is None:  # written before names were kept: what was frozen there has not moved
        frozen = {name: p for name, p in model.named_parameters() if plain_name(name) not in now}
        apart = [plain_name(name) for name, p in frozen.items() if not torch.equal(weights[name], p)]
    else:
        apart = sorted(set(before) ^ set(now)) if before != now else []
    if apart or sizes[0] != sizes[1] or before not in (None, now):
        raise CheckpointError(
            f"{path.name} is of a run that trained other parameters than this one "
            f"({', '.join(apart[:3]) or f'groups of {sizes[0]}, here of {sizes[1]}'}), or it cannot be told; "
            "freeze the same ones, or delete the file to start anew"
        )
