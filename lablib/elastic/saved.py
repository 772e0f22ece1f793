"""A model in a folder: its weights as safetensors beside its configuration, and the budgets that it was trained for.

A slice of a saved family is saved in the same form, and is loaded as an ordinary model of the lab.
"""

import json
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lablib.core.store import write_atomically
from lablib.elastic.budgets import AXES, Budget, cost, kept_sizes, sliced_config
from lablib.elastic.slices import sliced
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig

WEIGHTS, CONFIG = "model.safetensors", "config.json"


class SavedModelError(ValueError):
    """A folder that holds no model of this lab, or weights of another one."""


def save_model(folder: Path, model: LanguageModel, trained: dict[str, Budget] | None = None) -> None:
    """Write the model, and by name the budgets that it was trained for. The configuration is written last."""
    for budget in (trained or {}).values():
        kept_sizes(model.cfg, budget)  # a budget of another parent is refused now
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(weights))
    facts = {"model": model.cfg.flat(), "trained": {name: b.flat() for name, b in (trained or {}).items()}}
    write_atomically(folder / CONFIG, json.dumps(facts, indent=1).encode())


def load_model(folder: Path) -> tuple[LanguageModel, dict[str, Budget]]:
    """The model and the budgets that it was trained for. SavedModelError names what is missing or does not fit."""
    try:
        facts = json.loads((folder / CONFIG).read_text())
        model = LanguageModel(ModelConfig(**facts["model"]))
        trained = {name: _budget(fields) for name, fields in facts["trained"].items()}
        weights = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        words = f"{folder} holds no model that this lab has saved ({type(error).__name__}: {error})"
        raise SavedModelError(f"{words}; expected {CONFIG} and {WEIGHTS}, as `save_model` writes them") from error
    own = model.state_dict()
    apart = sorted(own.keys() ^ weights.keys())
    apart += [name for name in own.keys() & weights.keys() if own[name].shape != weights[name].shape]
    if apart:
        words = f"the weights in {folder} are of another model than its {CONFIG} says: {apart[0]} does not fit"
        raise SavedModelError(f"{words}; save the model again")
    if bad := [name for name, value in weights.items() if not bool(torch.isfinite(value).all())]:
        raise SavedModelError(f"{bad[0]} in {folder} holds numbers that are not finite; train the model again")
    model.load_state_dict(weights)
    return model.eval(), trained


def _budget(fields: dict[str, Any]) -> Budget:
    return Budget(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def parse_budget(text: str, trained: dict[str, Budget]) -> Budget:
    """A name of a trained budget, or fields such as `width=48,hidden=96`. ValueError says what there is."""
    if text in trained:
        return trained[text]
    fields = dict(part.partition("=")[::2] for part in text.split(","))
    numbers = {name: value.isdecimal() for name, value in fields.items()}
    if not fields.keys() <= {*AXES} - {"layers"} or not all(numbers.values()):
        said = f"one of {', '.join(trained)}, or " if trained else ""
        raise ValueError(f"the budget is {text!r}; expected {said}fields such as width=48,hidden=96")
    return Budget(**{name: int(value) for name, value in fields.items()})


def advice(cfg: ModelConfig, budget: Budget, trained: dict[str, Budget]) -> str:
    """What to expect of a budget that no training was for; nothing for one that there was a training for."""
    size = lambda b: [sliced_config(cfg, b).width, *(n for _, _, sizes in kept_sizes(cfg, b) for n in sizes)]  # noqa: E731
    asked = size(budget)
    if not trained or any(asked == size(other) for other in trained.values()):
        return ""
    smallest = min(trained, key=lambda name: cost(sliced_config(cfg, trained[name])).parameters)
    least = size(trained[smallest])
    if len(asked) == len(least) and all(mine >= its for mine, its in zip(asked, least, strict=True)):
        return f"no training was for this budget; its loss should lie between those of {', '.join(trained)}"
    return (
        f"this budget keeps less than {smallest}, the smallest one that a training was for: expect a far higher loss; "
        "measure it before use, or train the slice further"
    )


def save_slice(source: Path, text: str, folder: Path) -> tuple[LanguageModel, str]:
    """Slice a saved model by a budget in words, save the slice, and return it with the advice, which is warned too."""
    model, trained = load_model(source)
    budget = parse_budget(text, trained)
    small, said = sliced(model, budget), advice(model.cfg, budget, trained)
    if said:
        warnings.warn(said, stacklevel=2)
    save_model(folder, small)
    return small, said
