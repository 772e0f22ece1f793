"""What is important in a trained model, measured on forward passes alone, and a model with the most important first.

Width (arXiv 2504.11409, section 2; 2511.16664, equations 1 to 4): the mean of |activation| over time, its L2 norm over
rows. Depth (2511.16664, equation 5, and what others use): how far the logits move when a layer is left out.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from lablib.data.batch import Batch
from lablib.elastic.budgets import Budget, full_sizes
from lablib.elastic.slices import WIDTH, Axis, Index, Slices, check_parameters, indices, layer_indices, sliced_weights
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.losses import cross_entropy, forward_kl, weighted_mean

Scores = dict[Axis, Tensor]  # of channels of the stream, neurons, heads; of Mamba-2 also "channels", of each head


@contextmanager
def watched(places: Mapping[nn.Module, Callable[[Tensor, Tensor], None]]) -> Iterator[None]:
    """Inside the block each module shows its input and output; at the end nothing is left in the model."""
    show = lambda see: lambda module, given, out: see(given[0], out[0] if isinstance(out, tuple) else out)  # noqa: E731
    handles = [module.register_forward_hook(show(see)) for module, see in places.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def size_of(activation: Float[Tensor, "row time *rest"]) -> Float[Tensor, "*rest"]:
    """Mean of the absolute values over time, L2 norm over rows."""
    return activation.abs().mean(1).square().sum(0).sqrt()


@torch.no_grad()
def importance(
    model: LanguageModel, tokens: Int[Tensor, "row time"], *, after: bool = False, channels: int | None = None
) -> Scores:
    """Scores of everything that a width budget can leave out; the larger the more important.

    `after`: neurons by their outputs, after the nonlinearity; else before it, as the paper's formula has them. Heads of
    Mamba-2 are scored by their `channels` best channels (default: all), which are scored first.
    """
    check_parameters(model)
    scores: Scores = {WIDTH: torch.zeros(model.cfg.width)}
    places: dict[nn.Module, Callable[[Tensor, Tensor], None]] = {}

    def read_by(_: Tensor, out: Tensor) -> None:
        scores[WIDTH] = scores[WIDTH] + size_of(out)

    def keep(axis: Axis, score: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], None]:
        return lambda given, out: scores.update({axis: score(given, out)})

    for place, kind, sizes in full_sizes(model.cfg):
        block = model.blocks[place]
        residual = block.mlp if kind == "relu2" else block.mixers[0]
        places[residual.before] = read_by
        if kind == "relu2":
            watch = residual.part.down if after else residual.part.up
            places[watch] = keep(Axis("hidden", place), lambda given, out: size_of(given if after else out))
        elif kind == "attention":
            by_head = lambda given, _, sizes=sizes: size_of(given.unflatten(-1, sizes).norm(dim=-1))  # noqa: E731
            places[residual.part.out] = keep(Axis("heads", place), by_head)
        else:
            shape = (sizes[0] * model.cfg.groups, sizes[1])
            x = lambda _, out, shape=shape: _x_of(out, *shape)  # noqa: E731
            places[residual.part.into] = keep(Axis("channels", place), x)
    places[model.norm] = read_by
    with watched(places):
        model(tokens)
    for place, kind, _ in full_sizes(model.cfg):
        if kind == "mamba2":
            each = scores[Axis("channels", place)]  # (head, channel)
            of_channels = each.norm(dim=0)
            best = of_channels.argsort(descending=True)[:channels]
            scores |= {Axis("channels", place): of_channels, Axis("heads", place): each[:, best].norm(dim=1)}
    return scores


def _x_of(out: Float[Tensor, "row time into"], heads: int, dim: int) -> Float[Tensor, "{heads} {dim}"]:
    """The size of x = W_x LN(X) of each head and channel, before the convolution."""
    return size_of(out[..., heads * dim : 2 * heads * dim].unflatten(-1, (heads, dim)))


class Order(NamedTuple):
    """For each axis what stands first, second, ... Heads of Mamba-2 are numbered through all groups."""

    places: dict[Axis, Index]


def ranked(cfg: ModelConfig, scores: Scores) -> Order:
    """The most important first; heads of Mamba-2 are sorted inside their groups."""
    mamba = {place for place, kind, _ in full_sizes(cfg) if kind == "mamba2"}
    found = {}
    for axis, score in scores.items():
        if axis.name == "heads" and axis.layer in mamba:
            found[axis] = _inside_groups(score.unflatten(0, (cfg.groups, -1)).argsort(1, descending=True))
        else:
            found[axis] = score.argsort(descending=True)
    return Order(found)


def reversed_order(cfg: ModelConfig, scores: Scores) -> Order:
    """The least important first."""
    return ranked(cfg, {axis: -score for axis, score in scores.items()})


def random_order(cfg: ModelConfig, scores: Scores, generator: Generator) -> Order:
    """Any order, groups kept."""
    return ranked(cfg, {axis: torch.rand(score.shape, generator=generator) for axis, score in scores.items()})


def across_groups(cfg: ModelConfig, scores: Scores) -> Order:
    """Heads of Mamba-2 ranked as if there were no groups: what `permuted` refuses."""
    found = dict(ranked(cfg, scores).places)
    mamba = [Axis("heads", place) for place, kind, _ in full_sizes(cfg) if kind == "mamba2"]
    return Order(found | {axis: scores[axis].argsort(descending=True) for axis in mamba})


def _inside_groups(places: Int[Tensor, "group head"]) -> Index:
    groups, each = places.shape
    return (places + each * torch.arange(groups)[:, None]).flatten()


def permuted(model: LanguageModel, order: Order, *, break_groups: bool = False) -> LanguageModel:
    """A copy in which rank order is index order; it computes the same.

    Raises ValueError for what is no permutation, and for one that takes a Mamba head out of its group: the head would
    meet the B and C of another. `break_groups` does it all the same, to show what it costs.
    """
    cfg = model.cfg
    index = dict(indices(cfg, Budget()))
    for axis, place in order.places.items():
        many = {WIDTH: cfg.width}.get(axis, len(place))
        if not torch.equal(place.sort().values, torch.arange(many)):
            raise ValueError(f"the order of {axis.name} (layer {axis.layer}) is no permutation of 0 to {many - 1}")
    for place, kind, (first, *rest) in full_sizes(cfg):
        if kind == "relu2":
            index[Axis("hidden", place)] = order.places[Axis("hidden", place)]
        elif kind == "attention":
            heads = order.places[Axis("heads", place)]
            index[Axis("channels", place)] = (heads[:, None] * rest[0] + torch.arange(rest[0])).flatten()
        else:
            heads = order.places[Axis("heads", place)]
            if not break_groups and bool((heads // first != torch.arange(len(heads)) // first).any()):
                raise ValueError(
                    f"the order of the heads of layer {place}, {heads.tolist()}, takes heads out of their groups of "
                    f"{first}: they share B and C with their group; rank them inside it"
                )
            index |= layer_indices(cfg, place, heads, order.places[Axis("channels", place)])
    index[WIDTH] = order.places[WIDTH]
    copy = LanguageModel(cfg)
    copy.load_state_dict(sliced_weights(dict(model.named_parameters()), cfg, Budget(), index))
    return copy.to(model.embedding.weight).train(model.training)


# ---- depth

Metric = Literal["nMSE", "nMSE, centred", "nMSE, answers", "KL", "loss", "1 - cos"]
METRICS: tuple[Metric, ...] = ("nMSE", "nMSE, centred", "nMSE, answers", "KL", "loss", "1 - cos")


def damage(metric: Metric, whole: Tensor, without: Tensor, batch: Batch) -> float:
    """How far the logits have moved, by a metric. `nMSE` is s_j of equation 5.

    `centred`: after the mean over the vocabulary is taken off at each position, which no softmax sees. `answers`: at
    the positions alone that count more than a word.
    """
    if metric == "KL":
        return float(forward_kl(whole, without, batch.weight))
    if metric == "loss":
        losses = [cross_entropy(logits, batch.targets, batch.weight) for logits in (without, whole)]
        return float(losses[0] - losses[1])
    if metric == "nMSE, centred":
        whole, without = (logits - logits.mean(-1, keepdim=True) for logits in (whole, without))
    if metric == "nMSE, answers":
        whole, without = (logits[batch.weight > 1] for logits in (whole, without))
    return float((whole - without).square().sum() / whole.square().sum())


@torch.no_grad()
def depth_scores(model: LanguageModel, batch: Batch, metric: Metric, layers: Sequence[int] = ()) -> dict[int, float]:
    """By place, how much a layer matters; `layers` are those that are still there (default: all)."""
    layers = tuple(layers) or tuple(range(len(model.blocks)))
    slices = Slices(model)
    if metric == "1 - cos":
        turned: dict[int, float] = {}
        see = lambda place: lambda x, y: turned.update({place: _turned(x, y, batch)})  # noqa: E731
        small = Slices(model)
        shape = small.shape_of(Budget(layers=layers))
        with watched({block: see(place) for place, block in zip(layers, shape.blocks, strict=True)}):
            small(batch.tokens, Budget(layers=layers))
        return turned
    whole = slices(batch.tokens)
    without = {j: tuple(place for place in layers if place != j) for j in layers}
    return {j: damage(metric, whole, slices(batch.tokens, Budget(layers=rest)), batch) for j, rest in without.items()}


def _turned(x: Tensor, y: Tensor, batch: Batch) -> float:
    """1 - cos between what enters and what leaves a layer, mean over the positions that count."""
    return float(weighted_mean(1 - F.cosine_similarity(x, y, dim=-1), (batch.weight > 0).float()))


def depth_order(model: LanguageModel, batch: Batch, metric: Metric, *, iterative: bool = False) -> list[int]:
    """The places of all layers, the most important first: by one pass, or by leaving out the least one again and again.

    The last layer that is left is the most important one; it is never left out.
    """
    scores = depth_scores(model, batch, metric)
    if not iterative:
        return sorted(scores, key=scores.__getitem__, reverse=True)
    left, gone = sorted(scores), []
    while len(left) > 1:
        scores = depth_scores(model, batch, metric, left)
        least = min(scores, key=scores.__getitem__)
        left.remove(least)
        gone.append(least)
    return [*left, *reversed(gone)]
