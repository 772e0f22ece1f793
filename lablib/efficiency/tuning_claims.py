"""The claims of notebook 05 on tuning and on what is saved. Distances are in nats a token."""

from collections.abc import Iterator

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, within
from lablib.core.stats import mean_interval
from lablib.core.tables import apart, read_rows
from lablib.efficiency.summaries import at, distances


def _rates(table: pd.DataFrame) -> Iterator[Check]:
    for shift, rows in read_rows(table).groupby("language.shift", sort=False):
        rates = rows.groupby("name")["train.optim.lr"].first()
        said = f"{shift}: {rates.idxmin()} {rates.min():g}, {rates.idxmax()} {rates.max():g}"
        yield Check(rates.max() >= 10 * rates.min(), said, rows["seed"].nunique())


def _on(table: pd.DataFrame, shift: str, first: str, second: str, column: str = "excess"):
    """The second method minus the first, on one shift."""
    rows = distances(table)
    rows = rows[rows["language.shift"] == shift]
    return apart(at(rows, first, column), at(rows, second, column))


def _unigram(table: pd.DataFrame) -> Iterator[Check]:
    for few in ("BitFit", "head", "adapters"):
        yield below(f"{few} minus full:", _on(table, "unigram", "full", few), spec=".3f")


def _transitions(table: pd.DataFrame) -> Iterator[Check]:
    for few in ("BitFit", "head"):
        yield above(f"{few} minus LoRA:", _on(table, "transitions", "LoRA", few))
    yield above("LoRA minus full:", _on(table, "transitions", "full", "LoRA"))


def _lost(table: pd.DataFrame) -> Iterator[Check]:
    yield above("LoRA minus full:", _on(table, "transitions", "full", "LoRA", "lost"))
    for few in ("BitFit", "head"):
        yield below(f"{few} minus full:", _on(table, "transitions", "full", few, "lost"))


def _lost_frequencies(table: pd.DataFrame) -> Iterator[Check]:
    for name in ("LoRA", "adapters", "BitFit"):
        yield above(f"{name} minus full:", _on(table, "unigram", "full", name, "lost"))


TUNING = (
    Claim("Do the methods have one best learning rate?", "no, ten times and more lie between", _rates,
          "chosen from eight and more, on other languages"),
    Claim("New frequencies: do few weights suffice?", "yes: biases, head, adapters beat full tuning", _unigram),
    Claim("New transitions: do few weights suffice?", "no: full tuning, then LoRA, then biases or the head",
          _transitions),
    Claim("Who loses most of the old language?", "LoRA, then full tuning, then biases or the head", _lost,
          "new transitions, each at its best rate"),
    Claim("And with new frequencies?", "full tuning loses least", _lost_frequencies, "each at its best rate"),
)  # fmt: skip


def _at_rate(table: pd.DataFrame, name: str, rate: float, column: str) -> pd.Series:
    return at(distances(table), name, column, **{"train.optim.lr": rate})


# a rate of LoRA, and one of full tuning that the sweep on other languages puts before it in both respects
AGAINST = ((1e-3, 3e-4), (3e-3, 1e-3), (1e-2, 1e-3))


def _dominated(table: pd.DataFrame) -> Iterator[Check]:
    for own, other in AGAINST:
        for column, said in (("excess", "above the new language"), ("lost", "lost of the old one")):
            found = apart(_at_rate(table, "LoRA, rank 4", own, column), _at_rate(table, "full", other, column))
            yield below(f"full at {other:g} minus LoRA at {own:g}, {said}:", found)


FORGETTING = (
    Claim("Does LoRA lose less of the old language for what it learns?", "no: full tuning learns more and loses less",
          _dominated, "rank 4, new transitions"),
)  # fmt: skip


def _behind(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for rank in (1, 4, 16):
        yield above(f"rank {rank} minus full:", apart(at(rows, "full"), at(rows, f"LoRA, rank {rank}")))


def _with_rank(table: pd.DataFrame) -> Iterator[Check]:
    rows = read_rows(table)
    for low, high in ((1, 4), (4, 16)):
        found = apart(at(rows, f"LoRA, rank {low}"), at(rows, f"LoRA, rank {high}"))
        yield below(f"rank {high} minus rank {low}:", found)


CAPACITY = (
    Claim("A language that is new altogether: does LoRA reach full tuning?", "no", _behind, "64,000 tokens"),
    Claim("Does a higher rank help there?", "yes, each time", _with_rank),
)


def _saves(table: pd.DataFrame) -> Iterator[Check]:
    found = {name: rows.set_index("seed") for name, rows in table.groupby("method")}
    added = {name: rows["gradient_bytes"] + rows["optimizer_bytes"] for name, rows in found.items()}
    kept = {name: rows["activation_bytes"] for name, rows in found.items()}
    yield below("gradients and optimiser, LoRA over full:", mean_interval(added["LoRA"] / added["full"]), 0.1)
    yield within("activations, LoRA over full:", mean_interval(kept["LoRA"] / kept["full"]), 0.75, 0.85)
    yield above("DoRA over full:", mean_interval(kept["DoRA"] / kept["full"]), 1)
    yield below("BitFit over full:", mean_interval(kept["BitFit"] / kept["full"]), 0.7)


MEMORY = (
    Claim("Does LoRA save memory?", "a twentieth of gradients and optimiser stays, four fifths of activations", _saves,
          "a step of 4 layers, 32 rows of 128 tokens", repeated=True),
)  # fmt: skip
