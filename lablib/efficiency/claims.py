"""The claims of notebook 05 on distillation. Distances are in nats a token."""

from collections.abc import Iterator
from itertools import pairwise

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, includes_zero, within
from lablib.core.stats import mean_interval
from lablib.core.tables import apart, read_rows
from lablib.efficiency.summaries import BEST, at, stopped

TOKENS = (1000, 4000, 16_000)
EXACT, TEACHER, HALF = "KD from the language", "KD from a teacher", "half KD, half CE"


# ---- distillation


def _exact(table: pd.DataFrame) -> Iterator[Check]:
    rows = stopped(table)
    for n in TOKENS:
        yield below(f"{n:,} tokens:", apart(at(rows, BEST, tokens=n), at(rows, EXACT, tokens=n)))


def _gap(table: pd.DataFrame) -> Iterator[Check]:
    rows = stopped(table)
    gaps = [at(rows, BEST, tokens=n) - at(rows, EXACT, tokens=n) for n in TOKENS]
    for (before, after), n, check in zip(pairwise(gaps), TOKENS[1:], (above, below), strict=True):
        yield check(f"gap at {n:,} tokens minus the gap before:", apart(before, after))


def _smoother(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    n, *more = TOKENS
    less = {m: apart(at(rows, EXACT, tokens=m), at(rows, TEACHER, tokens=m)) for m in TOKENS}
    yield below(f"teacher minus language, {n:,} tokens:", less[n])
    for m in more:
        yield above(f"{m:,} tokens:", less[m])


def _teacher(table: pd.DataFrame) -> Iterator[Check]:
    rows = stopped(table)
    for n in TOKENS:
        yield below(f"{n:,} tokens:", apart(at(rows, BEST, tokens=n), at(rows, TEACHER, tokens=n)))


def _beats_its_teacher(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    rows = rows[rows["tokens"] == TOKENS[-1]]
    yield below(
        f"student minus teacher, {TOKENS[-1]:,} tokens:",
        apart(at(rows, TEACHER, "excess_teacher"), at(rows, TEACHER)),
    )


def _half(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for n in TOKENS:
        yield above(f"half minus all soft, {n:,} tokens:", apart(at(rows, TEACHER, tokens=n), at(rows, HALF, tokens=n)))


DISTILLATION = (
    Claim("Are exact probabilities better than tokens, stopped at their best?", "yes, for each number of tokens",
          _exact),
    Claim("Is the gap smaller with more tokens?", "first larger, then smaller", _gap),
    Claim("Is a trained teacher better than the tokens themselves?", "yes, for each number", _teacher,
          "the teacher has read 64,000 other tokens"),
    Claim("Is a trained teacher worse than the truth?", "with 1,000 tokens it is better, then worse", _smoother),
    Claim("Can a student beat its teacher?", "yes, with 16,000 tokens", _beats_its_teacher),
    Claim("Is half of each better than soft labels alone?", "no, worse", _half),
)  # fmt: skip


# ---- what the labels are


def _temperatures(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    one = at(rows, "temperature 1")
    for t in ("2", "4", "8"):
        yield within(f"temperature {t} minus 1:", apart(one, at(rows, f"temperature {t}")), -0.02, 0.02, ".3f")
    yield above("0.5 minus 1:", apart(one, at(rows, "temperature 0.5")), spec=".3f")


TEMPERATURE = (
    Claim("Does the temperature of the labels matter?", "not by 0.02 nats from 1 to 8; 0.5 is worse", _temperatures,
          "4,000 tokens, one learning rate, the loss times T squared"),
)  # fmt: skip


def _better_teachers(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for before, after in pairwise(rows["name"].unique()):
        yield below(f"{after} minus {before}:", apart(at(rows, before), at(rows, after)))


def _against_its_teacher(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    first, *_, last = rows["name"].unique()
    for name, check in ((first, below), (last, above)):
        yield check(f"{name}: student minus teacher", apart(at(rows, name, "excess_teacher"), at(rows, name)))


TEACHERS = (
    Claim("Does a better teacher make a better student?", "yes, each time", _better_teachers,
          "trained teachers, none stopped early"),
    Claim("Is the student nearer to the language than its teacher?", "than a bad one; not than a good one",
          _against_its_teacher, "4,000 tokens"),
)  # fmt: skip


def _remainder(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for k in (1, 2, 4, 8):
        without, kept = (at(rows, f"top {k}, {word} the remainder") for word in ("without", "with"))
        yield above(f"top {k}: without minus with", apart(kept, without), spec=".3f")


def _enough(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    found = apart(at(rows, "all"), at(rows, "top 8, with the remainder"))
    yield above("top 8 with the remainder minus all:", found, spec=".3f")


TOP_K = (
    Claim("Do a few stored probabilities need the remainder?", "yes", _remainder),
    Claim("Are 8 of 24 as good as all?", "no, a little worse", _enough),
)


# ---- a student that is too small


SAID = {"excess": "distance", "own_nats": "surprise at its own text", "entropy": "entropy of its own text"}


def _modes(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for (column, said), check in zip(SAID.items(), (above, below, below), strict=True):
        found = apart(at(rows, "forward KL", column), at(rows, "reverse KL", column))
        yield check(f"{said}, reverse minus forward:", found)


def _own_text(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for kind, check in (("reverse KL", below), ("forward KL", above)):
        found = apart(at(rows, kind, "own_nats"), at(rows, f"{kind}, own text", "own_nats"))
        yield check(f"surprise, {kind}, own text minus given:", found)


DIRECTIONS = (
    Claim("Does the reverse KL give up variety for plausible text?", "yes", _modes, "a student of 8 channels"),
    Claim("Does learning on its own text make a student's text less surprising?",
          "by the reverse KL yes, by the forward KL no", _own_text),
)  # fmt: skip


def _larger(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    names = list(rows["name"].unique())
    for before, after in pairwise(names):
        check = includes_zero if before in names[-3:] else below
        yield check(f"{after} minus {before}:", apart(at(rows, before), at(rows, after)))


GAP = (
    Claim("Does a teacher that is much larger harm a small student?",
          "no: it is better up to 32 channels; beyond no difference is shown", _larger, "16,000 tokens, forward KL"),
)  # fmt: skip


# ---- the loss of a large vocabulary


def _chunks(table: pd.DataFrame) -> Iterator[Check]:
    rows = table[table["vocab"] == table["vocab"].max()]
    found = {name: part.set_index("seed") for name, part in rows.groupby("provider")}
    for name in ("by chunk", "Liger"):
        kept, spent = (found[name][column] / found["all logits"][column] for column in ("kept_bytes", "seconds"))
        yield below(f"{name} over all logits: bytes kept", mean_interval(kept), 0.1)
        yield includes_zero(f"{name} over all logits, less 1: CPU seconds", mean_interval(spent - 1))


LOSS = (
    Claim("Does a loss by chunks save memory, and what does it cost?",
          "over nine tenths; no difference in time is shown", _chunks,
          "1,024 tokens, a vocabulary of 32,768", repeated=True),
)  # fmt: skip
