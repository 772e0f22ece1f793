"""The claims of notebook 04 on a parent that is cut: order, first steps, layers.

The first claim of each group is the one that the notebook's first table shows. Losses are in nats a token.
"""

from collections.abc import Iterator

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, includes_zero
from lablib.core.stats import mean_interval, wilson
from lablib.core.tables import apart
from lablib.elastic.summaries import best_random, cut_loss, worst_random

# ---- cutting without training


AFTER = "after the nonlinearity"


def _jointly(table: pd.DataFrame) -> Iterator[Check]:
    for size in ("M", "S"):
        cut = f"all axes, {size}"
        more = apart(cut_loss(table, cut, "random"), cut_loss(table, cut, "ranked"))
        yield below(f"{size}: ranked minus random", more)


def _reversed_worst(table: pd.DataFrame) -> Iterator[Check]:
    for size in ("M", "S"):
        cut = f"all axes, {size}"
        more = apart(worst_random(table, cut), cut_loss(table, cut, "reversed"))
        yield above(f"{size}: reversed minus the worst random", more)
    for cut in ("MLP 1/2", "MLP 1/4"):
        more = apart(cut_loss(table, cut, "random"), cut_loss(table, cut, "reversed"))
        yield above(f"{cut}: reversed minus the mean random", more)


def _formula(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("MLP 1/2", "MLP 1/4"):
        ranked = cut_loss(table, cut, "ranked")
        yield includes_zero(f"{cut}: ranked minus the best random", apart(best_random(table, cut), ranked))
        yield includes_zero("minus the mean random", apart(cut_loss(table, cut, "random"), ranked))


def _heads(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("Mamba heads 1/2", "attention heads 1/2"):
        more = apart(cut_loss(table, cut, "random"), cut_loss(table, cut, "ranked"))
        yield includes_zero(f"{cut}: ranked minus the mean random", more)


def _after(table: pd.DataFrame) -> Iterator[Check]:
    for cut in ("MLP 1/2", "MLP 1/4"):
        found = cut_loss(table, cut, AFTER)
        yield below(f"{cut}: minus the best random", apart(best_random(table, cut), found))
        yield below("minus the score before", apart(cut_loss(table, cut, "ranked"), found))


def _groups(table: pd.DataFrame) -> Iterator[Check]:
    loss, recall = (
        apart(*(cut_loss(table, "nothing", order, column) for order in ("unranked", "across groups")))
        for column in ("loss", "recall")
    )
    yield above("loss grows by", loss)
    yield includes_zero("recall changes by", recall)


SLICING = (
    Claim("Cut on all axes, is the ranked order better than a random one?", "yes", _jointly, "mean of five orders"),
    Claim("Is the reversed order the worst?", "on all axes yes; MLPs: worse than the mean random", _reversed_worst),
    Claim("Is the paper's score of neurons better than random orders?", "not shown", _formula,
          "best and mean of five; activations before the nonlinearity"),
    Claim("And the same score after the nonlinearity?", "yes, also than the best of five", _after),
    Claim("Are ranks of heads better than random orders?", "not shown", _heads, "the untouched order is as good"),
    Claim("Does an order across groups hurt, though nothing is cut?", "yes", _groups, "of recall it is not shown"),
)  # fmt: skip


# ---- the first steps


def _head_start(table: pd.DataFrame) -> Iterator[Check]:
    steps = table["step"]
    for said, rows, check in (
        ("untrained", table[steps == 1], above),
        ("last steps", table[steps > 90], includes_zero),
    ):
        kl = rows.groupby(["name", "seed"])["loss S"].mean()
        yield check(f"{said}: reversed minus ranked", apart(kl["ranked"], kl["reversed"]), spec=".3f")


RECOVERY = (
    Claim("Is the head start of the ranked order gone after 100 steps?", "no difference is shown", _head_start,
          "KL of S from the teacher, in nats"),
)  # fmt: skip


# ---- depth


def _attention(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    return table[(table["kind"] == "attention") & (table["metric"] == metric)].set_index("seed")


def _behind(table: pd.DataFrame) -> Iterator[Check]:
    last = table[(table["metric"] == "nMSE") & (table["layer"] == table["layer"].max())].set_index("seed")
    rows = _attention(table, "nMSE")
    behind = rows["place"] > last["place"]
    share = wilson(int(behind.sum()), len(behind))
    yield Check(bool(behind.all()), f"behind the last MLP in {share:.2f} of the seeds", len(behind))
    yield above("the loss without attention minus without that MLP:", apart(last["loss"], rows["loss"]))
    yield below("recall without attention changes by", apart(rows["recall_whole"], rows["recall"]), -0.3)


def _causes(table: pd.DataFrame) -> Iterator[Check]:
    places = {metric: _attention(table, metric)["place"] for metric in table["metric"].unique()}
    plain = places["nMSE"]
    for metric in ("nMSE, centred", "nMSE, answers", "KL"):
        moved = plain - places[metric]  # how many places further to the front
        check = includes_zero if metric == "nMSE, centred" else above
        yield check(f"places gained by {metric}:", mean_interval(moved))


DEPTH = (
    Claim("Does nMSE rank the attention layer behind an MLP that matters less?", "yes", _behind),
    Claim("Which cure moves it forward?", "KL and the answers' positions; not centring", _causes),
)
