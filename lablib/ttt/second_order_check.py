"""Refuse what would drop the second derivative without a word: the outer gradient would be another one.

Fused attention raises by itself. A custom autograd Function (such as one around a kernel) and torch.compile around an
inner gradient do not: they return the first-order gradient. So the second derivative is held against a difference.
"""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Generator, nn
from torch.func import functional_call

from lablib.nn.context import Context
from lablib.ops import backend
from lablib.ops.fast_weights import per_sequence


def refuse_compiled(model: nn.Module) -> None:
    """RuntimeError inside torch.compile; ValueError for a model with compiled parts."""
    if torch.compiler.is_compiling():
        raise RuntimeError(
            "torch.compile around an inner gradient drops its second derivative; call this outside of it, and compile "
            "at most the blocks below the fast weights, by themselves, after the model is built"
        )
    compiled = lambda part: hasattr(part, "_orig_mod") or getattr(part, "_compiled_call_impl", None) is not None  # noqa: E731
    if parts := [name or "the model" for name, part in model.named_modules() if compiled(part)]:
        raise ValueError(f"{', '.join(parts)} is compiled: no second derivative; pass the module it was made of")


def places_of(module: nn.Module) -> dict[str, list[str]]:
    """By the name of each parameter, the names at which modules hold it: shared parameters have several.

    A module that stands in several places counts once. (With `tie_weights` torch would leave other weights in it.)
    """
    found: dict[int, tuple[str, dict[tuple[int, str], str]]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        parent, _, leaf = name.rpartition(".")
        _, places = found.setdefault(id(parameter), (name, {}))
        places.setdefault((id(module.get_submodule(parent)), leaf), name)
    return {name: list(places.values()) for name, places in found.values()}


def call_with(module: nn.Module, weights: Mapping[str, torch.Tensor], places: dict[str, list[str]], *given: Any) -> Any:
    """The module's result with some of its weights exchanged, wherever it holds them."""
    everywhere = {place: weight for name, weight in weights.items() for place in places[name]}
    return functional_call(module, everywhere, given, tie_weights=False)


def check_own_weights(upper: nn.Module, fast: list[str], context: Context) -> None:
    """ValueError unless `upper` can be read with other fast weights for each sequence: not every module can."""
    own = dict(upper.named_parameters())
    hidden = torch.zeros(2, 3, upper.norm.gain.shape[0]).to(own["norm.gain"])
    try:
        with torch.no_grad():
            weights = per_sequence({name: own[name] for name in fast}, 2)
            call_with(upper, weights, places_of(upper), hidden, None, context)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{', '.join(fast)} cannot be fast: with weights of its own for each sequence the model does not run "
            f"({str(error).splitlines()[0]}); select linear maps, such as an MLP's"
        ) from error


def check_second_derivative(upper: nn.Module, fast: list[str], context: Context) -> None:
    """ValueError unless a second derivative through `upper`, hidden states to logits, is what differences say it is.

    On a copy in double precision, two sequences of three tokens and a random direction of the fast weights.
    """
    upper, generator, step = copy.deepcopy(upper).double(), Generator().manual_seed(0), 1e-5
    gain, places = upper.norm.gain, places_of(upper)
    normal = lambda *shape: torch.randn(*shape, dtype=torch.float64, generator=generator).to(gain)  # noqa: E731
    weights = {name: p.detach() for name, p in upper.named_parameters() if name in fast}
    hidden = normal(2, 3, len(gain))
    aside = {name: normal(*weight.shape) for name, weight in weights.items()}  # the direction of the difference
    across = {name: normal(*weight.shape) for name, weight in weights.items()}  # what the gradient is read by

    def slope(at: dict[str, torch.Tensor], create_graph: bool) -> torch.Tensor:
        with backend.using("plain"):
            logits, _ = call_with(upper, at, places, hidden, None, context)
        loss = logits.logsumexp(-1).sum() + logits.square().mean()
        gradients = torch.autograd.grad(loss, list(at.values()), create_graph=create_graph)
        return sum((g * across[name]).sum() for g, name in zip(gradients, at, strict=True))

    def moved(by: float) -> dict[str, torch.Tensor]:
        return {name: (weight + by * aside[name]).requires_grad_() for name, weight in weights.items()}

    with torch.enable_grad():
        here = moved(0.0)
        try:
            seconds = torch.autograd.grad(slope(here, True), list(here.values()), allow_unused=True)
            said = float(sum((g * aside[name]).sum() for g, name in zip(seconds, here, strict=True) if g is not None))
        except (RuntimeError, NotImplementedError):  # torch says that there is none
            said = None
        differs = float((slope(moved(step), False) - slope(moved(-step), False)) / (2 * step))
    if said is None or abs(said - differs) > 1e-3 * max(1.0, abs(differs)):
        raise ValueError(
            f"an operation above the fast weights has no second derivative, or a wrong one: {said} where differences "
            f"say {differs:.6g}. Fused or hand-written kernels are the usual reason; use plain torch operations there, "
            'or order="first"'
        )
