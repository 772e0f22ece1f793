"""Questions on long haystacks: needles planted and asked for, each as hard as wanted.

A haystack is read once and asked often, so each question brings its own needles and its own tail. What can make it
harder than the training rows: more needles, distractors whose number grows with the haystack, and needles written in
a form that training never showed.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Int
from torch import Generator, Tensor

from lablib.core.refusals import at_least
from lablib.data.retrieval import SLOT, Keys, RetrievalConfig, Values, draw_keys, needle_slots, noise, query_slots

Form = Literal["trained", "unmarked", "gapped"]


class Questions(NamedTuple):
    """One haystack and the questions on it. Each question plants its own needles, so that the haystack itself can be
    read once; each has a tail that follows the haystack and ends where the last answer is due."""

    haystack: Int[Tensor, "1 time"]
    starts: Int[Tensor, "question plant"]  # where the plants of a question begin
    plants: Int[Tensor, "question plant slot"]
    tails: Int[Tensor, "question tail"]
    answers: Int[Tensor, "question asked"]
    answer_at: Int[Tensor, " asked"]  # positions in the tail whose next token is an answer
    evidence: Int[Tensor, "question asked"]  # position in the haystack of the value that answers

    def planted(self, question: int) -> Int[Tensor, "1 time"]:
        """The whole input of one question: the haystack with its needles, then its tail."""
        tokens = self.haystack.clone()
        tokens[0, self.starts[question][:, None] + torch.arange(SLOT)] = self.plants[question]
        return torch.cat([tokens, self.tails[question][None]], dim=1)


def draw_questions(
    cfg: RetrievalConfig,
    length: int,
    number: int,
    generator: Generator,
    text: Tensor | None = None,
    *,
    num_needles: int = 1,
    asked: int = 1,
    strata: int = 1,
    distractors: int = 0,
    form: Form = "trained",
    haystack: Int[Tensor, "1 time"] | None = None,
) -> Questions:
    """`number` questions on one haystack; haystack and tail have `length` tokens together.

    Each question plants `num_needles` needles (or chains) at random slots and asks for the first `asked` of them.

    strata          parts of the depth, a question's first needle in its own (`stratum_of`); offsets then differ too
    distractors     needles that stand in the haystack itself; half of the keys are set apart for them
    form            how the planted needles are written: as in training, "unmarked" [· k v ·] or "gapped" [MARK k · v]
    haystack        one that is already there, of other questions; haystack and tail then have its length and the tail's

    Raises ValueError if they do not fit or the keys do not suffice.
    """
    at_least(1, number=number)
    links, tail = _links(cfg), (asked - 1) * SLOT + 1 + cfg.key_tokens
    offset = torch.randint(cfg.offsets, () if strata == 1 else (number, 1), generator=generator)
    room = length - tail if haystack is None else haystack.shape[1]
    others, own = _keys_apart(cfg, distractors, haystack, generator)
    wanted = {"num_needles": num_needles, "asked": asked, "strata": strata, "distractors": distractors}
    slots = check_questions(cfg, room + tail, int(offset.max()), **wanted)
    keys = draw_keys(cfg, number, num_needles * links, generator, own)
    values = cfg.first_value + torch.randint(cfg.num_values, (number, num_needles), generator=generator)
    starts = _draw_slots(number, slots, num_needles * links, strata, generator) * SLOT + offset
    plants = _write_plants(cfg, keys, values, form, generator, text)
    asks = _filled(cfg, query_slots(cfg, keys, values)[:, :asked], generator, text)
    if haystack is None:
        haystack = _with_distractors(cfg, noise(cfg, 1, room, generator, text), distractors, others, offset, generator)
    answer_at = torch.arange(asked) * SLOT + cfg.key_tokens
    evidence = starts[:, ::links][:, :asked] + 1 + cfg.key_tokens + (form == "gapped")
    return Questions(haystack, starts, plants, asks.flatten(1)[:, :tail], values[:, :asked], answer_at, evidence)


def check_questions(
    cfg: RetrievalConfig,
    length: int,
    offset: int | None = None,
    *,
    num_needles: int = 1,
    asked: int = 1,
    strata: int = 1,
    distractors: int = 0,
) -> int:
    """How many slots there are for needles.

    Raises ValueError if they do not fit or the keys do not suffice, with slots at `offset` (default: at any).
    """
    links, room = _links(cfg), length - (asked - 1) * SLOT - 1 - cfg.key_tokens
    slots = max((room - (cfg.offsets - 1 if offset is None else offset)) // SLOT, 0)
    usable = cfg.num_keys - cfg.num_keys // 2 * (distractors > 0)
    fits = num_needles * links <= min(slots, usable) and 0 <= distractors <= slots
    if not fits or not 1 <= asked <= num_needles or not 1 <= strata <= slots:
        wanted = f"{num_needles} needles of {links} slots, {asked} of them asked for, do not fit the {slots} slots"
        where = f"of {length} tokens ({strata} strata) beside {distractors} distractors"
        raise ValueError(f"{wanted} {where}, or the {usable} keys")
    return slots


def _links(cfg: RetrievalConfig) -> int:
    """Needles that lead to an answer: one, or those of a chain."""
    return cfg.hops + 1 if cfg.task == "tracking" else 1


def stratum_of(number: int, strata: int) -> Int[Tensor, " question"]:
    """The part of the depth, counted from 0 at the beginning, that each of `number` questions belongs to."""
    return torch.arange(number) * strata // number


def _draw_slots(number: int, slots: int, each: int, strata: int, generator: Generator) -> Int[Tensor, "question slot"]:
    """Distinct slots for each question, in random order; with strata, the first in the question's own part."""
    if strata == 1:
        return torch.rand(number, slots, generator=generator).topk(each, dim=1).indices
    part, uniform = stratum_of(number, strata), torch.rand(number, each, generator=generator, dtype=torch.double)
    low, high = part * slots // strata, (part + 1) * slots // strata
    chosen = (low + (uniform[:, 0] * (high - low)).long())[:, None]
    for i in range(1, each):  # one of the slots that are left, counted without those already taken
        slot = (uniform[:, i] * (slots - i)).long()
        for taken in chosen.sort(dim=1).values.unbind(1):
            slot = slot + (slot >= taken)
        chosen = torch.cat([chosen, slot[:, None]], dim=1)
    return chosen


def _keys_apart(
    cfg: RetrievalConfig, distractors: int, haystack: Tensor | None, generator: Generator
) -> tuple[Tensor, Tensor | None]:
    """The keys of the distractors and those that are left for the needles (None: all)."""
    if haystack is not None and distractors:
        raise ValueError(f"{distractors} distractors would change a haystack that is already there")
    if distractors <= 0:
        return torch.empty(0, dtype=torch.long), None
    return torch.randperm(cfg.num_keys, generator=generator).tensor_split([cfg.num_keys // 2])


def _write_plants(
    cfg: RetrievalConfig, keys: Keys, values: Values, form: Form, generator: Generator, text: Tensor | None
) -> Int[Tensor, "row slot four"]:
    """Needles, or the links of chains, in the form that is asked for; with one-token keys the fourth token is noise."""
    if form not in ("trained", "unmarked", "gapped"):
        raise ValueError(f"form is {form!r}; expected trained, unmarked or gapped")
    if form != "trained" and (cfg.key_tokens != 1 or cfg.task != "needle"):
        got = f"got {cfg.task} with key_tokens={cfg.key_tokens}"
        raise ValueError(f"form {form!r} is for single needles with one-token keys; {got}")
    plants = _filled(cfg, needle_slots(cfg, keys, values), generator, text)
    return plants[:, :, {"trained": [0, 1, 2, 3], "unmarked": [3, 1, 2, 3], "gapped": [0, 1, 3, 2]}[form]]


def _filled(
    cfg: RetrievalConfig, slots: Int[Tensor, "row slot token"], generator: Generator, text: Tensor | None
) -> Int[Tensor, "row slot four"]:
    """Whole slots: what the tokens leave of them is noise."""
    rows, number, tokens = slots.shape
    whole = noise(cfg, rows * number, SLOT, generator, text).reshape(rows, number, SLOT)
    whole[:, :, :tokens] = slots
    return whole


def _with_distractors(
    cfg: RetrievalConfig,
    haystack: Int[Tensor, "1 time"],
    number: int,
    among: Tensor,
    offsets: Tensor,
    generator: Generator,
) -> Int[Tensor, "1 time"]:
    """A fresh haystack with needles of the keys `among` in slots at the first offset; keys may come more than once."""
    if number == 0:
        return haystack
    offset = int(offsets.flatten()[0])
    slots = (haystack.shape[1] - offset) // SLOT
    starts = torch.randperm(slots, generator=generator)[:number] * SLOT + offset
    keys = draw_keys(cfg, number, 1, generator, among)
    values = cfg.first_value + torch.randint(cfg.num_values, (number, 1), generator=generator)
    needles = needle_slots(cfg, keys, values)[:, 0]
    haystack[0, starts[:, None] + torch.arange(needles.shape[1])] = needles  # the rest of a slot stays as it is
    return haystack
