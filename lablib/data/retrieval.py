"""Needles in haystacks: retrieval tasks after RULER (arXiv 2404.06654), small enough for a laptop.

A row is cut into slots of four tokens. Most hold noise; some hold a needle or a query (`·` is noise):

    needle   [MARK k v ·]   or, with two-token keys,  [MARK k1 k2 v]
    query    [ASK  k v ·]                             [ASK  k1 k2 v]      v is the answer, predicted from k
    chain    [MARK a v ·] [MARK b a ·] [MARK c b ·]   then  [ASK c v ·]   (two hops)

One needle is S-NIAH, several are multi-key NIAH, several questions multi-query NIAH. Chains are the inverse of RULER's
variable tracking: RULER gives the value and asks for the names, here the name c is given. This file holds the tasks and
the training rows; `questions.py` asks at any length, as a rule in the format of the training: a test of the
mechanism, not of language.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from lablib.core.config import Config
from lablib.core.refusals import at_least, known_ids
from lablib.data.batch import Batch

SLOT = 4
Keys = Int[Tensor, "row slot part"]
Values = Int[Tensor, "row needle"]


@dataclass(frozen=True, kw_only=True)
class RetrievalConfig(Config):
    """A retrieval task. Lengths and distances in tokens, distances from the needle's slot to the query's.

    `distance` weighs the placements of a needle and its query in a training row: "uniform" draws each pair of slots
    within the distances alike, so that short distances, which fit a row more often, are the more frequent. Chains
    (`task="tracking"`) are placed at random instead.
    """

    task: Literal["needle", "tracking"] = "needle"
    haystack: Literal["synthetic", "text"] = "synthetic"
    length: int = 64
    num_pairs: int = 1  # needles in a training row, each with its question; or chains, the first of them asked for
    hops: int = 2  # of a chain
    num_noise: int = 16  # noise tokens of the synthetic haystack
    num_keys: int = 16
    num_values: int = 16
    key_tokens: Literal[1, 2] = 1
    shared_keys: bool = False  # two-token keys come in couples with the same first token: hard distractors
    distance: Literal["uniform", "log-uniform", "pareto"] = "uniform"
    min_distance: int = 4
    max_distance: int = 56
    offsets: int = 4  # slots start at 0 .. offsets - 1, so that needles straddle chunks
    copy_lag: int = 24  # the local component: a noise token repeats the one `copy_lag` before it ...
    copy_probability: float = 0.0  # ... with this probability

    limits: ClassVar = {
        "at least 1": "num_pairs num_noise num_values copy_lag",
        "at least 0": "hops",
        "0 to 1": "copy_probability",
    }

    def faults(self) -> Iterator[tuple[bool, str]]:
        slots = (self.length - self.offsets + 1) // SLOT
        used = self.num_pairs * (2 if self.task == "needle" else self.hops + 1) + (self.task == "tracking")
        room = f"the {slots} slots of a row of {self.length} tokens"
        yield used > slots, f"{used} needles and queries do not fit {room}"
        yield not 1 <= self.offsets <= SLOT, f"offsets is {self.offsets}; expected 1 to {SLOT}"
        near, far = self.min_distance, self.max_distance
        yield not SLOT <= near <= far, f"distances {near} to {far}: expected {SLOT} <= min <= max"
        farthest = min(far // SLOT, slots - 1) * SLOT
        nowhere = self.task == "needle" and -(-near // SLOT) * SLOT > farthest
        yield nowhere, f"distances {near} to {far}: expected a multiple of {SLOT} among them, at most {farthest}"
        few = self.num_pairs * (self.hops + 1 if self.task == "tracking" else 1) > self.num_keys
        yield few, f"{self.num_pairs} pairs need more than the {self.num_keys} distinct keys there are"
        mixed = self.task == "tracking" and self.key_tokens != 1
        yield mixed, "chains are written with one-token keys; got key_tokens=2"

    @property
    def num_asked(self) -> int:
        """Questions in a training row. A second question on chains could be answered by elimination."""
        return self.num_pairs if self.task == "needle" else 1

    @property
    def first_key(self) -> int:
        return 256 if self.haystack == "text" else self.num_noise

    @property
    def first_value(self) -> int:
        return self.first_key + self.num_keys

    @property
    def mark(self) -> int:
        return self.first_value + self.num_values

    @property
    def ask(self) -> int:
        return self.mark + 1

    @property
    def vocab(self) -> int:
        """Token ids: noise (or bytes), keys, values, MARK, ASK."""
        return self.ask + 1


def noise(
    cfg: RetrievalConfig, batch: int, length: int, generator: Generator, text: Tensor | None = None
) -> Int[Tensor, "batch time"]:
    """Haystack without needles: random ids with the local copy component, or stretches of `text` (byte tokens)."""
    at_least(0, batch=batch, length=length)
    if cfg.haystack == "text":
        if text is None or len(text) < length:
            raise ValueError(f"a text haystack of {length} tokens needs a text of at least that length")
        starts = torch.randint(len(text) - length + 1, (batch,), generator=generator)
        if batch == 1:  # a long haystack needs no table of positions
            stretches = text[None, starts : starts + length].clone()
        else:
            stretches = text[starts[:, None] + torch.arange(length)]
        known_ids(256, text=stretches)
        return stretches
    tokens = torch.randint(cfg.num_noise, (batch, length), generator=generator)
    if cfg.copy_probability > 0:
        copied = torch.rand(batch, length, generator=generator) < cfg.copy_probability
        for start in range(cfg.copy_lag, length, cfg.copy_lag):
            here = slice(start, start + cfg.copy_lag)
            before = tokens[:, start - cfg.copy_lag : min(start, length - cfg.copy_lag)]
            tokens[:, here] = torch.where(copied[:, here], before, tokens[:, here])
    return tokens


def training_batch(
    cfg: RetrievalConfig,
    batch: int,
    generator: Generator,
    text: Tensor | None = None,
    *,
    answers_only: bool = True,
    offset: int | None = None,
) -> Batch:
    """Rows full of needles and queries; with `answers_only` only the answers count, else every next token.

    Slots begin at an offset drawn for each row, or at the one given.
    """
    if offset is not None and not 0 <= offset < cfg.offsets:
        raise ValueError(f"offset is {offset}; expected one of 0 to {cfg.offsets - 1}")
    tokens = noise(cfg, batch, cfg.length, generator, text)
    if offset is None:
        offset = torch.randint(cfg.offsets, (batch, 1, 1), generator=generator)
    places = _place_pairs(cfg, batch, generator) if cfg.task == "needle" else _place_chains(cfg, batch, generator)
    starts, links = places * SLOT + offset, places.shape[2] - 1
    keys = draw_keys(cfg, batch, places.shape[1] * links, generator)
    values = cfg.first_value + torch.randint(cfg.num_values, (batch, places.shape[1]), generator=generator)
    needles, queries = needle_slots(cfg, keys, values), query_slots(cfg, keys, values)[:, : cfg.num_asked]
    row, asked_at = torch.arange(batch)[:, None], starts[:, : cfg.num_asked, -1]
    for slots, at in ((needles, starts[:, :, :-1].flatten(1)), (queries, asked_at)):
        tokens[row[..., None], at[..., None] + torch.arange(slots.shape[2])] = slots
    weight, evidence = torch.zeros(batch, cfg.length), torch.full((batch, cfg.length), -1)
    weight[row, asked_at + cfg.key_tokens] = 1.0  # the last token of the key predicts the value
    evidence[row, asked_at + cfg.key_tokens] = starts[:, : cfg.num_asked, 0] + 1 + cfg.key_tokens
    if not answers_only:
        weight = torch.ones(batch, cfg.length)
    weight[:, -1] = 0.0  # what follows the row is not known
    return Batch(tokens, tokens.roll(-1, dims=1), weight, evidence)


def restated_batch(cfg: RetrievalConfig, batch: int, generator: Generator, text: Tensor | None = None) -> Batch:
    """Rows of chains that end in one of their definitions, written again: the key it holds counts, one look-up away.

    The question of a chain needs all its links. Here its first step stands in the place of the question: [MARK c b],
    with b to be predicted from c.
    """
    if cfg.task != "tracking" or cfg.hops < 1:
        raise ValueError(f"only chains of at least one hop can be restated; got {cfg.task} with hops={cfg.hops}")
    rows = training_batch(cfg, batch, generator, text)
    tokens, targets, evidence = rows.tokens.clone(), rows.targets.clone(), rows.evidence.clone()
    row, at = (rows.weight > 0).nonzero(as_tuple=True)
    defines = (tokens[:, :-2] == cfg.mark) & (tokens[:, 1:-1] == tokens[row, at][:, None])
    content_at = defines.float().argmax(dim=1) + 2
    tokens[row, at - 1] = cfg.mark
    tokens[row, at + 1] = targets[row, at] = tokens[row, content_at]
    evidence[row, at] = content_at
    return rows._replace(tokens=tokens, targets=targets, evidence=evidence)


def needle_slots(cfg: RetrievalConfig, keys: Keys, values: Values) -> Int[Tensor, "row slot token"]:
    """[MARK key... value] of each needle. With more keys than values, chains: a later link holds the key before it."""
    contents = keys[:, :, 0].roll(1, dims=1)
    contents[:, :: keys.shape[1] // values.shape[1]] = values
    return torch.cat([torch.full_like(keys[:, :, :1], cfg.mark), keys, contents[..., None]], dim=-1)


def query_slots(cfg: RetrievalConfig, keys: Keys, values: Values) -> Int[Tensor, "row needle token"]:
    """[ASK key... value] of each needle, or of the last link of each chain."""
    links = keys.shape[1] // values.shape[1]
    last = keys[:, links - 1 :: links]
    return torch.cat([torch.full_like(last[:, :, :1], cfg.ask), last, values[..., None]], dim=-1)


def draw_keys(
    cfg: RetrievalConfig, batch: int, number: int, generator: Generator, among: Int[Tensor, " choice"] | None = None
) -> Int[Tensor, "batch key part"]:
    """Distinct keys a row, from those numbered `among` (default: all).

    Two-token keys differ in the second token; in couples they share the first.
    """
    among = torch.arange(cfg.num_keys) if among is None else among
    if number > len(among):
        raise ValueError(f"{number} distinct keys were asked for; there are {len(among)}")
    order = among[torch.rand(batch, len(among), generator=generator).argsort(dim=1)[:, :number]]
    if cfg.key_tokens == 1:
        return cfg.first_key + order[:, :, None]
    first = torch.randint(cfg.num_keys, (batch, number), generator=generator)
    if cfg.shared_keys:
        first = first[:, torch.arange(number) // 2]
    return cfg.first_key + torch.stack([first, order], dim=2)


def _place_pairs(cfg: RetrievalConfig, batch: int, generator: Generator) -> Int[Tensor, "batch pair 2"]:
    """Slots of needle and query for each pair, drawn one pair after the other among the slots still free."""
    slots = (cfg.length - cfg.offsets + 1) // SLOT
    index, free, places = torch.arange(slots), torch.ones(batch, slots), []
    distance = ((index - index[:, None]) * SLOT).clamp(min=1).float()
    density = {"uniform": torch.ones_like(distance), "log-uniform": 1 / distance, "pareto": distance**-2}[cfg.distance]
    inside = (distance >= cfg.min_distance) & (distance <= cfg.max_distance)
    # of a needle in slot i with its query in slot j; any ordered pair where a crowded row leaves none that fits
    weights = torch.triu(density * inside + 1e-9, diagonal=1)
    for _ in range(cfg.num_pairs):
        joint = weights * free[:, :, None] * free[:, None, :]
        drawn = torch.multinomial(joint.flatten(1), 1, generator=generator)[:, 0]
        place = torch.stack([drawn // slots, drawn % slots], dim=1)
        free = free.scatter(1, place, 0.0)
        places.append(place)
    return torch.stack(places, dim=1)


def _place_chains(cfg: RetrievalConfig, batch: int, generator: Generator) -> Int[Tensor, "batch pair link_and_query"]:
    """Slots of each chain's links in random order, and the slot after all of them for the query."""
    slots, links = (cfg.length - cfg.offsets + 1) // SLOT, cfg.num_pairs * (cfg.hops + 1)
    order = torch.rand(batch, slots, generator=generator).argsort(dim=1)[:, : links + 1]
    query, last = order.max(dim=1, keepdim=True)
    order = order.scatter(1, last, order[:, -1:])[:, :-1]  # the slot that comes last leaves its place to another
    chains = order.reshape(batch, cfg.num_pairs, cfg.hops + 1)
    return torch.cat([chains, query[:, :, None].expand(-1, cfg.num_pairs, 1)], dim=2)
