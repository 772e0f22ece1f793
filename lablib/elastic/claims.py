"""The claims on cutting a parent, and on its layers."""

from collections.abc import Iterator

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, includes_zero
from lablib.core.stats import mean_interval, wilson
from lablib.elastic.summaries import best_random, cut_loss, difference, worst_random

# ---- cutting without training


AFTER = "after the nonlinearity"


def _formula(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("MLP 1/2", "MLP 1/4"):
        more = difference(best_random(table, cut), cut_loss(table, cut, "ranked"))
        yield includes_zero(f"{cut}, less the best random", more)


def _after(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("MLP 1/2", "MLP 1/4"):
        yield below(f"{cut}, less the best random", difference(best_random(table, cut), cut_loss(table, cut, AFTER)))
        yield below("less the formula's", difference(cut_loss(table, cut, "ranked"), cut_loss(table, cut, AFTER)))


def _jointly(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("all axes, M", "all axes, S"):
        more = difference(cut_loss(table, cut, "random"), cut_loss(table, cut, "ranked"))
        yield below(f"{cut}, less the mean random", more)


def _reversed_worst(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("all axes, M", "all axes, S"):
        more = difference(worst_random(table, cut), cut_loss(table, cut, "reversed"))
        yield above(f"{cut}, more than the worst random", more)
    for cut in ("MLP 1/2", "MLP 1/4"):
        more = difference(cut_loss(table, cut, "random"), cut_loss(table, cut, "reversed"))
        yield above(f"{cut}, more than the mean random", more)


def _groups(table: pd.DataFrame) -> Iterator[Check]:
    loss, recall = (
        difference(*(cut_loss(table, "nothing", order, column) for order in ("unranked", "across groups")))
        for column in ("loss", "recall")
    )
    yield above("loss, more", loss)
    yield includes_zero("recall, more", recall)


SLICING = (
    Claim("Is the paper's score of neurons better than the best of five random orders?", "not shown", _formula,
          "activations before the nonlinearity"),
    Claim("And the same score after the nonlinearity?", "yes, and better than before it", _after),
    Claim("Cut jointly, is the ranked order better than a random one?", "yes", _jointly, "than the mean of five"),
    Claim("Is the reversed order the worst?", "jointly yes; for MLPs worse than the mean random", _reversed_worst),
    Claim("Does an order across groups hurt, though nothing is cut?", "yes", _groups, "of recall it is not shown"),
)  # fmt: skip


# ---- depth


def _attention(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[(table["kind"] == "attention") & (table["metric"] == metric)].set_index("seed")


def _behind(table: pd.DataFrame) -> Iterator[Check]:
    rows, last = (
        _attention(table, "nMSE"),
        table[(table["metric"] == "nMSE") & (table["layer"] == table["layer"].max())],
    )
    last = last.set_index("seed")
    behind = rows["place"] > last["place"]
    yield Check(
        bool(behind.all()), f"behind the last MLP in {wilson(int(behind.sum()), len(behind)):.2f} of seeds", len(behind)
    )
    yield above("its loss, more than the MLP's", difference(last["loss"], rows["loss"]))
    yield below("recall without it, less", difference(rows["recall_whole"], rows["recall"]), -0.3)


def _causes(table: pd.DataFrame) -> Iterator[Check]:
    places = {metric: _attention(table, metric)["place"] for metric in table["metric"].unique()}
    plain = places["nMSE"]
    for metric in ("nMSE, centred", "nMSE, answers", "KL"):
        moved = plain - places[metric]  # how many places further to the front
        check = includes_zero if metric == "nMSE, centred" else above
        yield check(f"places gained by {metric}", mean_interval(moved))


DEPTH = (
    Claim("Does nMSE rank the attention layer behind an MLP that matters less?", "yes", _behind),
    Claim("Which cure moves it forward?", "KL and the answers' positions; not centring", _causes),
)
