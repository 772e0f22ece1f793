"""Ways to tune a trained model with few trainable parameters: what is added, what is frozen, what is saved.

full      everything                                head      the output map alone
LoRA      low-rank changes of the linear maps (`lora.py`); rsLoRA and DoRA are forms of it
adapters  two small layers behind each part, of which the second begins at 0 (arXiv 1902.00751)
BitFit    the biases alone (arXiv 2106.10199)
"""

import copy
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.core.files import write_atomically
from lablib.nn.layers import Linear
from lablib.nn.lora import LoRAConfig, with_lora
from lablib.nn.model import Residual
from lablib.nn.surgery import plain_name, replace, train_only

LORA = ("LoRA", "rsLoRA", "DoRA")
Method = Literal["full", "LoRA", "rsLoRA", "DoRA", "adapters", "BitFit", "head"]


class AdapterFileError(ValueError):
    """A file that holds no tuning of this lab, or one for another base."""


class Bottleneck(nn.Module):
    """x + up(gelu(down(x))); `up` begins at 0, so the module begins as the identity."""

    def __init__(self, width: int, size: int, generator: Generator):
        super().__init__()
        self.down, self.up = Linear(width, size, bias=True), Linear(size, width, bias=True)
        nn.init.normal_(self.down.weight, std=width**-0.5, generator=generator)
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, x: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        return x + self.up(F.gelu(self.down(x)))


@dataclass(frozen=True, kw_only=True)
class TuningConfig(Config):
    """A way to tune. `count`: how many parts it has to find in the layers of the model.

    Linear maps for LoRA and its forms, parts of layers for adapters, biases for BitFit; full and head need none.
    `rank` and `alpha` are LoRA's, `size` is the width of an adapter.
    """

    method: Method = "LoRA"
    count: int = 0
    rank: int = 4
    alpha: float = 8.0
    size: int = 8

    limits: ClassVar = {"at least 1": "rank size", "at least 0": "count", "more than 0": "alpha"}

    def lora(self) -> LoRAConfig:
        """The adapter of LoRA, rsLoRA or DoRA."""
        scaling = "root" if self.method == "rsLoRA" else "rank"
        return LoRAConfig(rank=self.rank, alpha=self.alpha, scaling=scaling, magnitude=self.method == "DoRA")


def tuned(model: nn.Module, cfg: TuningConfig, generator: Generator, name: str = "adapter") -> nn.Module:
    """A copy of a language model that is ready to be tuned: the same outputs, and only some parameters trainable.

    `name` is that of LoRA's adapter. ValueError where the model has not `count` of the parts that the method tunes.
    """
    if cfg.method in LORA:
        return with_lora(model, cfg.lora(), "blocks.*", count=cfg.count, generator=generator, name=name)
    model = copy.deepcopy(model).requires_grad_(cfg.method == "full")
    if cfg.method == "head":
        train_only(model, "head.*", count=1)
    if cfg.method == "BitFit":
        train_only(model, "blocks.*.bias", count=cfg.count)
    if cfg.method == "adapters":
        replace(model, "blocks.*", lambda part: _behind(part, cfg.size, generator), count=cfg.count, kind=Residual)
    return model


def _behind(part: Residual, size: int, generator: Generator) -> Residual:
    width = part.before.gain.numel()
    part.after = nn.Sequential(part.after, Bottleneck(width, size, generator).to(part.before.gain))
    return part


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that a training would change, by name."""
    return {plain_name(name): p for name, p in model.named_parameters() if p.requires_grad}


def base_hash(model: nn.Module) -> str:
    """A hash of all weights with their names; low-rank adapters beside the weights do not count."""
    found = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        if ".adapters." in name:
            continue
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()[:16]


def save_tuning(path: Path, model: nn.Module, cfg: TuningConfig, base: nn.Module, name: str = "adapter") -> None:
    """Write what was trained, and what it was trained on: kilobytes, without the base."""
    tensors = {key: value.detach().contiguous() for key, value in trainable(model).items()}
    facts = {"tuning": json.dumps(cfg.flat()), "base": base_hash(base), "name": name}
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, save(tensors, facts))


def load_tuning(path: Path, base: nn.Module) -> nn.Module:
    """The base with what was saved. AdapterFileError for another base, and for what is no such file."""
    try:
        with safe_open(path, "pt") as file:
            facts, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        cfg = TuningConfig(**json.loads(facts["tuning"]))
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        words = f"{path} holds no tuning that this lab has saved ({type(error).__name__}: {error})"
        raise AdapterFileError(f"{words}; expected a file of `save_tuning`") from error
    if facts["base"] != (found := base_hash(base)):
        words = f"{path} was trained on the base {facts['base']}, and this model is {found}"
        raise AdapterFileError(f"{words}; load the base that it was trained on, before any other tuning")
    model = tuned(base, cfg, Generator().manual_seed(0), facts["name"])
    own = trainable(model)
    if own.keys() != tensors.keys() or any(own[key].shape != tensors[key].shape for key in own):
        raise AdapterFileError(f"{path} holds other weights than its configuration says; save the tuning again")
    with torch.no_grad():
        for key, value in tensors.items():
            own[key].copy_(value)
    return model
