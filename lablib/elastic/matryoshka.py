"""Embeddings whose prefixes are embeddings (arXiv 2205.13147): how they are trained, and how they are searched.

    z_1:m     the first m of D numbers of an embedding: a prefix; its cosine is taken by its own length
    MRL       loss = sum over m of c_m * loss(z_1:m), each m with a head of its own (equation 1)
    MRL-E     the head of m is the first m columns of one head
    PCA       the embedding rotated so that its first m numbers hold the most of its squared length

With m = D alone MRL is the ordinary loss. The scan is a matrix product of plain torch: it is exact, so that what is
lost is lost by the prefix, and its FLOPs can be counted; an approximate index (faiss) would mix in errors of its own.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from lablib.core.config import Config
from lablib.nn.layers import Linear

Embeddings = Float[Tensor, "row width"]
Loss = Float[Tensor, ""]


@dataclass(frozen=True, kw_only=True)
class PrefixConfig(Config):
    """An embedding of `width` numbers that is trained on its prefixes `dims`; `weights` are the c_m (default: 1 each).

    `tied`: MRL-E.
    """

    width: int = 64
    dims: tuple[int, ...] = (64,)
    weights: tuple[float, ...] = ()
    tied: bool = False

    def faults(self) -> Iterator[tuple[Any, str]]:
        dims, width = self.dims, self.width
        outside = [m for m in dims if not 1 <= m <= width]
        yield outside, f"dims holds {outside}; expected prefixes of 1 to width={width} numbers, or a larger width"
        yield width not in dims, f"dims is {dims} without width={width}: the whole would not be trained; add {width}"
        yield list(dims) != sorted(set(dims)), f"dims is {dims}; expected growing prefixes, each once"
        weights = self.weights or (1.0,)
        few = self.weights and len(weights) != len(dims)
        bad = few or not all(0 <= c < math.inf for c in weights) or not any(weights)
        yield bad, f"weights is {weights} for dims={dims}; expected one >= 0 each, not all 0, or () for 1 each"


def encoder(inputs: int, hidden: int, width: int, generator: Generator) -> nn.Sequential:
    """An MLP with two hidden layers."""
    maps = [Linear(one, two, bias=True) for one, two in pairwise((inputs, hidden, hidden, width))]
    for linear in maps:
        nn.init.normal_(linear.weight, std=linear.in_features**-0.5, generator=generator)
        nn.init.zeros_(linear.bias)
    return nn.Sequential(maps[0], nn.ReLU(), maps[1], nn.ReLU(), maps[2])


class PrefixHeads(nn.Module):
    """Logits of each prefix, from a head each, or from the first columns of one head."""

    def __init__(self, cfg: PrefixConfig, classes: int, generator: Generator):
        super().__init__()
        self.cfg = cfg
        sizes = (cfg.width,) if cfg.tied else cfg.dims
        self.weights = nn.ParameterList(torch.randn(classes, m, generator=generator) / m**0.5 for m in sizes)

    def head(self, m: int) -> Float[Tensor, "class m"]:
        """The head of m numbers; where none was trained, the first columns of that of all."""
        own = not self.cfg.tied and m in self.cfg.dims
        return self.weights[self.cfg.dims.index(m)] if own else self.weights[-1][:, :m]

    def forward(self, embeddings: Embeddings) -> list[Float[Tensor, "row class"]]:
        return [embeddings[:, :m] @ self.head(m).mT for m in self.cfg.dims]


# ---- losses


def by_prefix(cfg: PrefixConfig, losses: Sequence[Loss]) -> Loss:
    """The sum of c_m * loss(z_1:m); a loss for each of `dims`."""
    return sum(c * loss for c, loss in zip(cfg.weights or [1.0] * len(cfg.dims), losses, strict=True))


def prefix(embeddings: Embeddings, m: int) -> Float[Tensor, "row m"]:
    """The first m numbers, then of length 1. The other way round, prefixes would be of different lengths."""
    return F.normalize(embeddings[:, :m], dim=1)


def info_nce(queries: Embeddings, documents: Embeddings, temperature: float) -> Loss:
    """-log of the share that a query's own document has among all documents of the batch (arXiv 1807.03748)."""
    return F.cross_entropy(queries @ documents.mT / temperature, torch.arange(len(queries)))


def pair_losses(queries: Embeddings, documents: Embeddings, dims: Sequence[int], temperature: float) -> list[Loss]:
    """InfoNCE of each prefix, cut and normalised on both sides."""
    return [info_nce(prefix(queries, m), prefix(documents, m), temperature) for m in dims]


# ---- search


def principal(embeddings: Embeddings) -> Float[Tensor, "width width"]:
    """The rotation (columns) after which the first m numbers hold the most of the squared length, for any m.

    The mean is not taken off, so the cosines of all D numbers stay as they are.
    """
    _, directions = torch.linalg.eigh((embeddings.mT @ embeddings).double())
    return directions.flip(1).to(embeddings)


def funnel(
    queries: Embeddings, documents: Float[Tensor, "document width"], stages: Sequence[tuple[int, int]]
) -> Int[Tensor, "row kept"]:
    """The best documents of each query, best first; stage (m, k) keeps the k best by the cosine of m numbers.

    The first stage scans all documents, a later one what the stage before it kept. One stage is the plain scan, two
    are adaptive retrieval: a shortlist by few numbers, ranked again by more. ValueError for a stage that is impossible.
    """
    check_stages(stages, *documents.shape)
    (m, kept), *later = stages
    found = (prefix(queries, m) @ prefix(documents, m).mT).topk(kept).indices
    for m, kept in later:
        scores = prefix(documents, m)[found] @ prefix(queries, m)[:, :, None]
        found = found.gather(1, scores[..., 0].topk(kept).indices)
    return found


def check_stages(stages: Sequence[tuple[int, int]], documents: int, width: int) -> None:
    """ValueError unless there are stages, each of 1 to `width` numbers, that keep no more than the one before."""
    if not stages:
        raise ValueError("stages is empty; expected at least one, such as (width, 1): the plain scan")
    left = documents
    for m, kept in stages:
        if not 1 <= m <= width or not 1 <= kept <= left:
            raise ValueError(f"stage ({m}, {kept}): expected 1 to {width} numbers, and 1 to {left} documents to keep")
        left = kept


def scan_flops(documents: int, stages: Sequence[tuple[int, int]]) -> int:
    """FLOPs of a query's scores, a multiply-add as two; the lengths of prefixes are kept with the documents."""
    scored = [documents, *(kept for _, kept in stages[:-1])]
    return sum(2 * number * m for number, (m, _) in zip(scored, stages, strict=True))
