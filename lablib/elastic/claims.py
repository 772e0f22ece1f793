"""The claims of notebook 04: cutting, depth, families, stages, the router."""

from collections.abc import Callable, Iterator

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, includes_zero, within
from lablib.core.stats import mean_interval, wilson
from lablib.elastic import summaries
from lablib.elastic.summaries import at_budget, best_random, cut_loss, difference, worst_random

FAMILY, ALONE, THIRD = "family", "S alone", "S alone, a third"
SCRATCH, LONGER = "S from scratch", "S from scratch, parent too"


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
    yield Check(True, f"recall, more {recall:.2f}", recall.seeds)


SLICING = (
    Claim("Is the paper's score of neurons better than the best of five random orders?", "not shown", _formula,
          "activations before the nonlinearity"),
    Claim("And the same score after the nonlinearity?", "yes, and better than before it", _after),
    Claim("Cut jointly, is the ranked order better than a random one?", "yes", _jointly, "than the mean of five"),
    Claim("Is the reversed order the worst?", "jointly yes; for MLPs worse than the mean random", _reversed_worst),
    Claim("Does an order across groups hurt, though nothing is cut?", "yes", _groups, "loss of recall not shown"),
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


# ---- families


def _less(first: str, second: str, budget: str = "S", column: str = "loss") -> Callable[[pd.DataFrame], pd.Series]:
    return lambda table: difference(at_budget(table, second, budget, column), at_budget(table, first, budget, column))


def _near_alone(table: pd.DataFrame) -> Iterator[Check]:
    yield below("S of the family less S alone, all steps", _less(FAMILY, ALONE)(table), 0.05)
    yield below("less S alone, its third of the steps", _less(FAMILY, THIRD)(table))


def _near_teacher(table: pd.DataFrame) -> Iterator[Check]:
    yield below(
        "L less its teacher", difference(at_budget(table, FAMILY, "teacher"), at_budget(table, FAMILY, "L")), 0.05
    )


def _scratch(table: pd.DataFrame) -> Iterator[Check]:
    yield below("less scratch, as many steps", _less(FAMILY, SCRATCH)(table))


def _scratch_longer(table: pd.DataFrame) -> Iterator[Check]:
    for column in ("text", "facts", "recall"):
        told = _less(FAMILY, LONGER, column=column)(table)
        yield Check(True, f"{column} {told:.2f}", told.seeds)


def _order_forgotten(table: pd.DataFrame) -> Iterator[Check]:
    for name in ("family, random order", "family, reversed order"):
        yield within(f"{name}, less ranked", _less(name, FAMILY)(table), -0.05, 0.05)


def _objectives(table: pd.DataFrame) -> Iterator[Check]:
    for budget in ("S", "L"):
        yield above(f"CE less KD, {budget}", _less("family by CE", FAMILY, budget)(table))


def _own_teacher(table: pd.DataFrame) -> Iterator[Check]:
    yield below("own teacher less frozen, L", _less("family, own teacher", FAMILY, "L")(table))
    told = _less("family, own teacher", FAMILY, "S")(table)
    yield Check(True, f"S {told:.2f}", told.seeds)


def _cliff(table: pd.DataFrame) -> Iterator[Check]:
    parts = {name: at_budget(table, FAMILY, name) for name in ("M", "M to S", "S", "below S")}
    yield within("between M and S, less S", difference(parts["S"], parts["M to S"]), -0.05, 0.05)
    inside = difference(parts["M"], parts["S"])
    outside = difference(parts["S"], parts["below S"])
    yield Check(outside.low > inside.high, f"M to S {inside:.2f}, S to below S {outside:.2f}", outside.seeds)


FAMILIES = (
    Claim("Is S of the family as good as S alone, with three times its tokens?", "within 0.05 nats", _near_alone),
    Claim("Does L stay near its teacher?", "within 0.05 nats", _near_teacher),
    Claim("Does S beat training from scratch on as many tokens?", "yes", _scratch),
    Claim("And on the parent's tokens too?", "by skill: S of the family less scratch", _scratch_longer),
    Claim("Does the order still matter after the training?", "not by 0.05 nats", _order_forgotten),
    Claim("Is KD better than next tokens?", "yes", _objectives),
    Claim("Does the large model gain where it is its own teacher?", "yes", _own_teacher),
    Claim("Do sizes between the trained ones work, and smaller ones fail?", "yes", _cliff),
)


# ---- stages


def _long(table: pd.DataFrame, column: str, first: str, second: str, *checks) -> Iterator[Check]:
    for size, check in checks:
        yield check(f"{size}, {column}", summaries.stage_change(table, first, second, size, column))


def _stage_two(table: pd.DataFrame) -> Iterator[Check]:
    yield from _long(table, "loss", "short, uniform", "long, uniform", ("S", below), ("L", below))


def _skew(table: pd.DataFrame) -> Iterator[Check]:
    yield from _long(table, "loss", "long, uniform", "long, more for L", ("L", below), ("S", above))


STAGES = (
    Claim("Do long rows help more than as many tokens in short ones?", "yes", _stage_two),
    Claim("Does more for L help L and cost S?", "yes", _skew),
)


# ---- the router


def _met(table: pd.DataFrame, name: str = "homogeneous") -> Iterator[Check]:
    rows = summaries.achieved(table)
    rows = rows[rows["name"] == name]
    for target, part in rows.groupby("target"):
        yield within(f"target {target:.2f}, share less target", mean_interval(part["share"] - target), -0.05, 0.05)


def _oracle(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.achieved(table)
    rows = rows[(rows["name"] == "homogeneous") & (rows["target"] < 1)].dropna(subset=["best"])
    yield below(
        "router less best, smaller targets",
        mean_interval((rows["loss"] - rows["best"]).groupby(rows["seed"]).mean()),
        0.05,
    )


def _smallest(table: pd.DataFrame, name: str, column: str) -> pd.Series:
    rows = summaries.achieved(table)
    least = rows["target"].min()
    return rows[(rows["name"] == name) & (rows["target"] == least)].set_index("seed")[column]


def _faithful(table: pd.DataFrame) -> Iterator[Check]:
    for name, other in (("homogeneous", "depth by nMSE"), ("heterogeneous", "heterogeneous, depth by nMSE")):
        change = difference(_smallest(table, name, "recall"), _smallest(table, other, "recall"))
        yield below(f"recall, {other}, less", change)


def _layers_apart(table: pd.DataFrame) -> Iterator[Check]:
    change = difference(_smallest(table, "homogeneous", "loss"), _smallest(table, "heterogeneous", "loss"))
    yield includes_zero("heterogeneous less homogeneous, smallest target", change)


def _soft_gap(table: pd.DataFrame) -> Iterator[Check]:
    for name, check in (("homogeneous", within), ("straight-through", within)):
        rows = summaries.achieved(table).query("name == @name")
        gap = mean_interval((rows["loss"] - rows["soft"]).groupby(rows["seed"]).mean())
        yield check(f"{name}, chosen budget less its soft masks", gap, -0.05, 0.05)


ROUTER = (
    Claim("Does the router meet its targets?", "within 0.05", _met),
    Claim("Is its budget as good as the best one tried?", "within 0.05 nats", _oracle),
    Claim("Does it execute a bad depth order?", "yes: recall is lost", _faithful),
    Claim("Is a choice for each layer better than one for all?", "no difference is shown", _layers_apart),
    Claim("Is the chosen budget as good as the masks that were trained?", "yes, soft or straight through", _soft_gap),
)
