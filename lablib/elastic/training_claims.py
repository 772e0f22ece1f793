"""The claims of notebook 04 on sizes that are trained together: families, second stages, the router.

The first claim of each group is the one that the notebook's first table shows. Losses are in nats a token.
"""

from collections.abc import Callable, Iterator

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, includes_zero, within
from lablib.core.stats import Interval, mean_interval, wilson
from lablib.core.tables import apart
from lablib.elastic import summaries
from lablib.elastic.summaries import at_budget

FAMILY, ALONE, THIRD = "family", "S alone", "S alone, a third"
SCRATCH, LONGER = "S from scratch", "S from scratch, parent too"


# ---- families


def _less(first: str, second: str, budget: str = "S", column: str = "loss") -> Callable[[pd.DataFrame], Interval]:
    return lambda table: apart(at_budget(table, second, budget, column), at_budget(table, first, budget, column))


def _near_alone(table: pd.DataFrame) -> Iterator[Check]:
    yield within("S of the family minus S alone:", _less(FAMILY, ALONE)(table), 0, 0.05)
    yield below("minus S alone with a third of the rows:", _less(FAMILY, THIRD)(table))


def _near_teacher(table: pd.DataFrame) -> Iterator[Check]:
    teacher = at_budget(table, FAMILY, "teacher")
    yield below("L minus its teacher:", apart(teacher, at_budget(table, FAMILY, "L")), 0.05)


def _scratch(table: pd.DataFrame) -> Iterator[Check]:
    yield below("S of the family minus scratch:", _less(FAMILY, SCRATCH)(table))


def _scratch_longer(table: pd.DataFrame) -> Iterator[Check]:
    yield above("loss of S of the family minus scratch", _less(FAMILY, LONGER)(table), spec=".4f")
    for column in ("text", "facts", "recall"):
        yield includes_zero(column, _less(FAMILY, LONGER, column=column)(table), ".3f")


def _order_forgotten(table: pd.DataFrame) -> Iterator[Check]:
    for name in ("random", "reversed"):
        yield within(f"S: {name} minus ranked", _less(f"family, {name} order", FAMILY)(table), -0.05, 0.05)


def _objectives(table: pd.DataFrame) -> Iterator[Check]:
    yield within("next tokens minus KD, S:", _less("family by CE", FAMILY)(table), -0.05, 0.05)
    yield below("L:", _less("family by CE", FAMILY, "L")(table))


def _held_back(table: pd.DataFrame) -> Iterator[Check]:
    teacher = at_budget(table, FAMILY, "teacher")
    yield above("L minus its teacher, by KD:", apart(teacher, at_budget(table, FAMILY, "L")))
    for name, said in (("family by CE", "by CE"), ("family, own teacher", "own teacher"), ("L, further", "L alone")):
        yield below(f"{said}:", apart(teacher, at_budget(table, name, "L")))


def _own_teacher(table: pd.DataFrame) -> Iterator[Check]:
    yield below("own teacher minus frozen teacher, L:", _less("family, own teacher", FAMILY, "L")(table))
    yield within("S:", _less("family, own teacher", FAMILY)(table), -0.05, 0.05)


def _cliff(table: pd.DataFrame) -> Iterator[Check]:
    parts = {name: at_budget(table, FAMILY, name) for name in ("M to S", "S", "below S")}
    above_m = apart(at_budget(table, FAMILY, "M"), at_budget(table, FAMILY, "L to M"))
    yield within("between L and M, minus M:", above_m, -0.02, 0.02)
    yield within("between M and S, minus S:", apart(parts["S"], parts["M to S"]), 0, 0.05)
    yield above("below S, minus S:", apart(parts["S"], parts["below S"]), 0.5)


FAMILIES = (
    Claim("Is S of the family as good as S alone, with three times its rows?", "nearly: worse, by less than 0.05 nats",
          _near_alone, "the margin, 0.05, was set before the runs"),
    Claim("Does L stay near its teacher?", "within 0.05 nats", _near_teacher),
    Claim("Does S beat training from scratch on as many tokens?", "yes", _scratch),
    Claim("And from scratch on the parent's tokens too?", "no: scratch is a little lower", _scratch_longer,
          "by no skill alone; facts and recall are at their ceiling"),
    Claim("Does the order still matter after the training?", "not by 0.05 nats", _order_forgotten),
    Claim("Is KD better than next tokens?", "not for S; for L it is worse", _objectives),
    Claim("Is it the teacher that limits L?", "yes: without it, L falls below its teacher", _held_back,
          "the parent is not trained to its end"),
    Claim("What does L gain as its own teacher, and what does S lose?", "L gains; S stays within 0.05", _own_teacher,
          "L then learns from all rows, not from a third"),
    Claim("Do sizes that were not trained work?", "above M yes; between M and S not better than S; below S no", _cliff),
)  # fmt: skip


# ---- stages


def _change(table: pd.DataFrame, first: str, second: str, size: str, column: str = "loss"):
    return summaries.stage_change(table, first, second, size, column)


def _stage_two(table: pd.DataFrame) -> Iterator[Check]:
    for size in ("S", "L"):
        yield within(f"{size}: long minus short", _change(table, "short, uniform", "long, uniform", size), -0.02, 0.02)
    recall = mean_interval(summaries.on_long_rows(table, "recall")["S"]["no second stage"])
    yield above("recall of S without a second stage:", recall, 0.99, ".3f")


def _rotary(table: pd.DataFrame) -> Iterator[Check]:
    recall = summaries.on_long_rows(table, "recall")["S"]
    yield below("recall of S without a second stage:", mean_interval(recall["RoPE: no second stage"]), 0.9)
    for size in ("S", "L"):
        found = _change(table, "RoPE: no second stage", "RoPE: long, uniform", size, "recall")
        yield below(f"{size}: long rows minus no second stage", found, 0.05)


def _by_tokens(table: pd.DataFrame) -> Iterator[Check]:
    for size in ("S", "L"):
        found = _change(table, "RoPE: short, uniform, CE", "RoPE: long, uniform, CE", size, "recall")
        yield above(f"{size}, recall: long minus short", found)


def _skew(table: pd.DataFrame) -> Iterator[Check]:
    yield includes_zero("L:", _change(table, "long, uniform", "long, more for L", "L"), ".4f")
    yield above("S:", _change(table, "long, uniform", "long, more for L", "S"), spec=".4f")


STAGES = (
    Claim("Do long rows help more than as many tokens in short ones?", "not by 0.02 nats: recall needs no help",
          _stage_two, "attention without positions"),
    Claim("And where attention has positions (RoPE)?", "recall is lost, and KD on long rows does not bring it back",
          _rotary, "the parent never saw more than 64 tokens"),
    Claim("And with next tokens in place of that teacher?", "yes: long rows bring recall back", _by_tokens, "RoPE"),
    Claim("Does more for L help L and cost S?", "it costs S; no gain of L is shown", _skew, "without positions"),
)  # fmt: skip


# ---- the router


def _met(table: pd.DataFrame, name: str = "homogeneous") -> Iterator[Check]:
    rows = summaries.achieved(table)
    rows = rows[rows["name"] == name]
    for target, part in rows.groupby("target"):
        yield within(f"share kept minus target {target:.2f}:", mean_interval(part["share"] - target), -0.05, 0.05)


def _oracle(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.achieved(table)
    rows = rows[(rows["name"] == "homogeneous") & (rows["target"] < 1)].dropna(subset=["best"])
    more = mean_interval((rows["loss"] - rows["best"]).groupby(rows["seed"]).mean())
    yield below("router minus best, smaller targets:", more, 0.05)


def _smallest(table: pd.DataFrame, name: str, column: str) -> pd.Series:
    rows = summaries.achieved(table)
    least = rows["target"].min()
    return rows[(rows["name"] == name) & (rows["target"] == least)].set_index("seed")[column]


ORDERS = (("homogeneous", "{}"), ("heterogeneous", "heterogeneous, {}"))


def _nmse(table: pd.DataFrame) -> Iterator[Check]:
    for name, other in ORDERS:
        by_nmse = _smallest(table, other.format("depth by nMSE"), "recall")
        change = apart(_smallest(table, name, "recall"), by_nmse)
        yield within(f"recall, {name}: nMSE minus KL", change, -0.02, 0.02, spec=".3f")


def _straight(table: pd.DataFrame) -> Iterator[Check]:
    change = apart(_smallest(table, "homogeneous", "loss"), _smallest(table, "straight-through", "loss"))
    yield includes_zero("straight-through minus soft, smallest target:", change)


def _around(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.achieved(table)
    rows = rows[rows["name"].str.contains("attention last") & (rows["target"] == rows["target"].min())]
    kept = rows["recall"] > 0.9
    share = wilson(int(kept.sum()), len(kept))
    yield Check(share.low > 0.5, f"attention is kept in {share:.2f} of {len(kept)} runs", rows["seed"].nunique())
    lost = rows["recall"][~kept]
    yield Check((lost < 0.5).all(), f"recall where it is left out: {lost.mean():.2f}", rows["seed"].nunique())


def _layers_apart(table: pd.DataFrame) -> Iterator[Check]:
    change = apart(_smallest(table, "homogeneous", "loss"), _smallest(table, "heterogeneous", "loss"))
    yield includes_zero("heterogeneous minus homogeneous, smallest target:", change)


def _soft_gap(table: pd.DataFrame) -> Iterator[Check]:
    for name in ("homogeneous", "straight-through"):
        rows = summaries.achieved(table).query("name == @name")
        gap = mean_interval((rows["loss"] - rows["soft"]).groupby(rows["seed"]).mean())
        yield within(f"{name}: chosen budget minus its soft masks", gap, -0.05, 0.05)


ROUTER = (
    Claim("Does the router meet its targets?", "within 0.05", _met),
    Claim("Is its budget as good as the best one tried?", "yes, within 0.05 nats", _oracle,
          "the weights were trained for the router's"),
    Claim("Does it lose recall with the depth order of nMSE?", "no: there an MLP is the last layer", _nmse),
    Claim("And with attention put last?", "mostly no: it keeps all layers and saves width", _around,
          "smallest target, both kinds of router"),
    Claim("Is a choice for each layer better than one for all?", "no difference is shown", _layers_apart),
    Claim("Is the chosen budget as good as the masks that were trained?", "yes, soft or straight through", _soft_gap),
    Claim("Is straight-through better than soft masks?", "no difference is shown", _straight),
)  # fmt: skip
