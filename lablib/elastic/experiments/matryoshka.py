"""Embeddings that may be cut (arXiv 2205.13147), against a model of each size, against cutting, and against PCA.

`elastic/classes`    256 classes in 16 groups: the class of the nearest neighbour, by numbers kept
`elastic/retrieval`  the one right document of 4,000; shortlists and funnels by their FLOPs

The learning rate of each way to train, and the weight of the whole, are the best of three by the mean over the numbers
kept, on the data of seeds 100 to 102 (arms with `first_seed` 100). That of a plain model is the best for PCA; on
classes another rate is better for the whole, which is the reference there.

Directions, written before the runs. Classes: short prefixes of MRL beat a plain model that is cut; a model of each size
is the upper bound; from 16 numbers on, PCA of the plain model beats MRL. Retrieval: MRL beats cutting at 8 and 16; PCA
of the plain model is as good or better; whole, MRL is worse than the plain model, less so with more weight there, or
with twice the steps.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lablib.core.config import Config, by_scale
from lablib.core.experiment import experiment
from lablib.core.measure import count_flops
from lablib.core.seeds import generator
from lablib.data.vectors import INPUTS, Classes, ClassesConfig, Views, ViewsConfig
from lablib.elastic.matryoshka import (
    PrefixConfig,
    PrefixHeads,
    by_prefix,
    encoder,
    funnel,
    pair_losses,
    prefix,
    principal,
    scan_flops,
)
from lablib.train.evaluate import budget
from lablib.train.loop import TrainConfig, fit
from lablib.train.optim import OptimConfig

TUNING = 100  # the first seed of the arms that rates are chosen by
CLASS_DIMS, PAIR_DIMS = (2, 4, 8, 16, 32, 64), (8, 16, 32, 64)
MORE = {"prefixes__weights": (1.0, 1.0, 1.0, 8.0)}
LONGER = {"train__steps": 1800}
# by name: the prefixes that are trained, the learning rate, and what else is different
CLASS_WAYS: dict[str, tuple[tuple[int, ...], float, dict[str, Any]]] = {
    "plain": ((64,), 4e-2, {}),
    "MRL": (CLASS_DIMS, 4e-2, {}),
    "MRL-E": (CLASS_DIMS, 4e-2, {"prefixes__tied": True}),
    "independent": (CLASS_DIMS[:-1], 4e-2, {"apart": True}),
    "plain, for the whole": ((64,), 2e-2, {}),
}
PAIR_WAYS: dict[str, tuple[tuple[int, ...], float, dict[str, Any]]] = {
    "plain": ((64,), 3e-3, {}),
    "MRL": (PAIR_DIMS, 3e-3, {}),
    "MRL, more weight": (PAIR_DIMS, 3e-3, MORE),
    "independent": (PAIR_DIMS[:-1], 3e-3, {"apart": True}),
    "plain, longer": ((64,), 3e-3, LONGER),
    "MRL, longer": (PAIR_DIMS, 3e-3, LONGER),
}
CLASS_RATES, PAIR_RATES, WEIGHTS = (2e-2, 4e-2, 8e-2), (1.5e-3, 3e-3, 6e-3), (4.0, 8.0, 16.0)
# shortlists of `kept` by m numbers that are ranked again by all; and two funnels
STAGES = (
    *(((m, kept), (64, 1)) for m in (8, 16, 32) for kept in (10, 50, 200)),
    ((8, 200), (16, 50), (64, 1)),
    ((8, 400), (16, 100), (32, 20), (64, 1)),
)


@dataclass(frozen=True, kw_only=True)
class EmbedConfig(Config):
    """A way to train embeddings, and what they are read by: the nearest of `documents` to each of `queries`.

    apart         for each prefix a model of that width
    first_seed    of all data and weights; `seed` is added
    read          how many numbers are kept in the scans; `staged`: shortlists and funnels, too
    temperature   of InfoNCE
    """

    name: str = "plain"
    seed: int = 0
    first_seed: int = 0
    task: ClassesConfig | ViewsConfig = ClassesConfig()
    prefixes: PrefixConfig = PrefixConfig()
    apart: bool = False
    hidden: int = 128
    temperature: float = 0.07
    train: TrainConfig = TrainConfig(steps=900, batch=256, optim=OptimConfig(clip=math.inf))
    read: tuple[int, ...] = CLASS_DIMS
    staged: bool = False
    documents: int = 4000
    queries: int = 2000

    scales: ClassVar = {
        "smoke": {"hidden": 8, "train": TrainConfig(steps=3, batch=8), "documents": 400, "queries": 16},
    }

    def faults(self):
        yield not 0 < self.temperature < math.inf, f"temperature is {self.temperature}; expected more than 0"
        few = not 1 <= self.queries <= self.documents
        yield few, f"queries is {self.queries}; expected 1 to documents={self.documents}"
        outside = [] if self.apart else [m for m in self.read if not 1 <= m <= self.prefixes.width]
        yield outside, f"read holds {outside}; expected 1 to width={self.prefixes.width}"

    def models(self) -> list[PrefixConfig]:
        """The embeddings to train: one, or one a prefix."""
        return [PrefixConfig(width=m, dims=(m,)) for m in self.prefixes.dims] if self.apart else [self.prefixes]

    def stream(self, name: str) -> torch.Generator:
        """A stream of randomness of the arm."""
        return generator(name, self.first_seed + self.seed)


def way(base: EmbedConfig, name: str, dims: tuple[int, ...], rate: float, changes: dict[str, Any]) -> EmbedConfig:
    """The arm of a way to train, with seed 0."""
    shape = {"prefixes__width": dims[-1], "prefixes__dims": dims}
    return base.replace(name=name, train__optim__lr=rate, **shape, **changes)


def arms_of(scale: str, base: EmbedConfig, ways: dict, tuned: list[EmbedConfig], few: int) -> list[EmbedConfig]:
    """Five seeds of each way, three of each arm that a choice rests on."""
    full = [way(base, name, *how) for name, how in ways.items()]
    full += [cfg.replace(first_seed=TUNING, staged=False) for cfg in tuned]
    return by_scale(scale, full, lab=few, smoke=few, seeds=lambda cfg: 3 if cfg.first_seed else 5)


def classes_arms(scale: str) -> list[EmbedConfig]:
    """The ways; each way but the second plain one at every rate."""
    base, ways = EmbedConfig.at(scale), list(CLASS_WAYS.items())[:4]
    tuned = [way(base, name, dims, rate, how) for name, (dims, _, how) in ways for rate in CLASS_RATES]
    return arms_of(scale, base, CLASS_WAYS, tuned, 4)


def retrieval_arms(scale: str) -> list[EmbedConfig]:
    """The ways; plain, MRL and independent at every rate; every weight of the whole."""
    base = EmbedConfig.at(scale, task=ViewsConfig(), read=(8, 12, 16, 24, 32, 48, 64), staged=True)
    ways = [(name, *PAIR_WAYS[name]) for name in ("plain", "MRL", "independent")]
    tuned = [way(base, name, dims, rate, how) for name, dims, _, how in ways for rate in PAIR_RATES]
    more = way(base, "MRL, more weight", *PAIR_WAYS["MRL, more weight"])
    tuned += [more.replace(prefixes__weights=(1.0, 1.0, 1.0, weight)) for weight in WEIGHTS]
    return arms_of(scale, base, PAIR_WAYS, tuned, 3)


class Embedder(nn.Module):
    """Encoders of queries and of documents; for classes they are one, and there are heads."""

    def __init__(self, cfg: EmbedConfig, prefixes: PrefixConfig):
        super().__init__()
        weights, self.cfg, self.prefixes, self.heads = cfg.stream("initial weights"), cfg, prefixes, None
        self.query = self.document = encoder(INPUTS, cfg.hidden, prefixes.width, weights)
        if isinstance(cfg.task, ClassesConfig):
            self.heads = PrefixHeads(prefixes, cfg.task.groups * cfg.task.members, weights)
        else:
            self.document = encoder(INPUTS, cfg.hidden, prefixes.width, weights)

    def loss(self, vectors: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Of a batch, vectors and their classes or queries and their documents: the loss, and the embeddings."""
        embeddings = self.query(vectors)
        if self.heads is not None:
            losses = [F.cross_entropy(logits, other) for logits in self.heads(embeddings)]
        else:
            pair = embeddings, self.document(other)
            losses = pair_losses(*pair, self.prefixes.dims, self.cfg.temperature)
        return by_prefix(self.prefixes, losses), embeddings


def task_of(cfg: EmbedConfig) -> Classes | Views:
    """The task of an arm: its means and maps come from the stream of noise."""
    return (Classes if isinstance(cfg.task, ClassesConfig) else Views)(cfg.task, cfg.stream("noise"))


def spent(cfg: EmbedConfig) -> dict[str, float | int]:
    """The budget columns, of all models of the arm together."""
    batch = task_of(cfg)(cfg.train.batch, cfg.stream("rows"))
    models = nn.ModuleList(Embedder(cfg, prefixes) for prefixes in cfg.models())
    with torch.enable_grad():
        flops = sum(count_flops(lambda model=model: model.loss(*batch)[0].backward()) for model in models)
    return budget(models, tokens=cfg.train.steps * cfg.train.batch * len(models), flops=cfg.train.steps * flops)


class Search(NamedTuple):
    """Embedded queries and documents, and what each is: a document is right where both are the same."""

    queries: Tensor
    documents: Tensor
    asked: Tensor
    known: Tensor

    def by(self, stages) -> dict[str, Any]:
        """Share of right documents; FLOPs of a query, also as a share of those of the whole scan."""
        found = torch.cat([funnel(part, self.documents, stages)[:, 0] for part in self.queries.split(500)])
        number, width = self.documents.shape
        flops, whole = scan_flops(number, stages), scan_flops(number, [(width, 1)])
        said = ", ".join(f"{m}/{kept}" for m, kept in stages)
        return {"right": self.right(self.known[found]), "stages": said, "flops": flops, "share": flops / whole}

    def wrong_order(self, m: int) -> float:
        """Share of right documents where embeddings are normalised and then cut."""
        one, other = (prefix(side, side.shape[1])[:, :m] for side in (self.queries, self.documents))
        return self.right(self.known[(one @ other.mT).argmax(1)])

    def right(self, answers: Tensor, members: int = 1) -> float:
        """The share of right answers; of right groups, of so many classes each."""
        return float((answers // members == self.asked // members).float().mean())


def embed_and_search(cfg: EmbedConfig) -> pd.DataFrame:
    """Phase "scan" by numbers kept, as they are or after PCA of the documents; "stages" by shortlists and funnels.

    `right` is the share of queries whose nearest document is right: of the same class, or the one (recall@1).
    """
    task, rows = task_of(cfg), []
    queries, asked = task(cfg.documents, cfg.stream("held-out rows"))
    documents, known = asked, torch.arange(cfg.documents)
    if isinstance(cfg.task, ClassesConfig):
        documents, known = task(cfg.documents, cfg.stream("evaluation"))
    else:
        asked = known
    for prefixes in cfg.models():
        model = Embedder(cfg, prefixes)
        fit(model, task, cfg.train, cfg.stream("rows"), objective=lambda model, batch: model.loss(*batch))
        with torch.no_grad():
            one, other = model.query(queries[: cfg.queries]), model.document(documents)
            turns = {"cut": torch.eye(prefixes.width), "PCA": principal(prefix(other, prefixes.width))}
            for how in ("cut",) if cfg.apart else ("cut", "PCA"):
                search = Search(one @ turns[how], other @ turns[how], asked[: cfg.queries], known)
                for m in prefixes.dims if cfg.apart else cfg.read:
                    row = {"phase": "scan", "how": how, "dims": m, "right_wrong_order": search.wrong_order(m)}
                    rows.append(row | search.by([(m, 1)]) | by_class(cfg, model, search, turns[how], m))
                for stages in STAGES if cfg.staged and not cfg.apart else ():
                    rows.append({"phase": "stages", "how": how} | search.by(stages))
    return pd.DataFrame(rows)


def by_class(cfg: EmbedConfig, model: Embedder, search: Search, turn: Tensor, m: int) -> dict[str, float]:
    """Of m numbers, the shares of right groups, and of right classes by their head; without heads nothing."""
    if model.heads is None:
        return {}
    near = search.known[funnel(search.queries, search.documents, [(m, 1)])[:, 0]]
    as_it_is = bool((turn == torch.eye(len(turn))).all())
    head = model.heads.head(m) if as_it_is else (model.heads.head(len(turn)) @ turn)[:, :m]
    said = (search.queries[:, :m] @ head.mT).argmax(1)
    return {"right_group": search.right(near, cfg.task.members), "right_by_head": search.right(said)}


classes = experiment("elastic/classes", version=1, arms=classes_arms, counted=spent)(embed_and_search)
retrieval = experiment("elastic/retrieval", version=1, arms=retrieval_arms, counted=spent)(embed_and_search)
