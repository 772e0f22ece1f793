"""Summaries of the elastic experiments: table -> numbers, with intervals over seeds."""

from typing import NamedTuple

import pandas as pd

from lablib.core.stats import Interval
from lablib.core.tables import apart, read_rows

KEYS = ["name", "seed"]


def above_parent(table: pd.DataFrame) -> pd.DataFrame:
    """What was measured after the training, with a column `more`: the loss minus that of the seed's parent."""
    rows = read_rows(table)
    parent = rows[rows["budget"] == "teacher"].groupby("seed")["loss"].mean()
    return rows.assign(more=rows["loss"] - rows["seed"].map(parent))


def of_small(rows: pd.DataFrame) -> pd.DataFrame:
    """What was measured of S, where S was trained."""
    return rows[(rows["budget"] == "S") & rows["sizes"].str.split().map(lambda sizes: "S" in sizes)]


def at_budget(table: pd.DataFrame, name: str, budget: str, column: str = "loss") -> pd.Series:
    """A measure of one way to train at one budget, by seed."""
    rows = read_rows(table)
    return rows[(rows["name"] == name) & (rows["budget"] == budget)].set_index("seed")[column].sort_index()


def cut_loss(table: pd.DataFrame, cut: str, order: str, column: str = "loss") -> pd.Series:
    """A measure of a cut by one order, by seed; random orders are averaged first."""
    rows = table[(table["cut"] == cut) & (table["order"] == order)]
    return rows.groupby("seed")[column].mean()


def best_random(table: pd.DataFrame, cut: str) -> pd.Series:
    """The lowest loss of the random orders of a cut, by seed."""
    return _random(table, cut).min()


def worst_random(table: pd.DataFrame, cut: str) -> pd.Series:
    """The highest loss of the random orders of a cut, by seed."""
    return _random(table, cut).max()


def _random(table: pd.DataFrame, cut: str):
    return table[(table["cut"] == cut) & (table["order"] == "random")].groupby("seed")["loss"]


def cuts(table: pd.DataFrame) -> pd.DataFrame:
    """Mean loss by cut and order, and the range of the random orders, as a table for readers."""
    means = table[table["cut"] != "nothing"].pivot_table(index="cut", columns="order", values="loss", sort=False)
    random = table[table["order"] == "random"].groupby("cut", sort=False)["loss"].agg(["min", "max"])
    means["random, from best to worst"] = [
        f"{random['min'][cut]:.2f} to {random['max'][cut]:.2f}" for cut in means.index
    ]
    wanted = ["after the nonlinearity", "ranked", "unranked", "random, from best to worst", "reversed"]
    return means[wanted].round(2).rename_axis(columns=None).reset_index()


def layers(table: pd.DataFrame) -> pd.DataFrame:
    """By layer: what leaving it out costs, and its score by each metric, means over seeds."""
    table = table.assign(
        what=table["layer"].map(lambda layer: f"{layer}: ") + table["kind"], more=table["loss"] - table["loss_whole"]
    )
    true = table.groupby("what")[["more", "recall"]].mean().round(2)
    scores = table.pivot_table(index="what", columns="metric", values="score").round(3)
    return true.rename(columns={"more": "loss, more"}).join(scores.drop(columns="loss")).reset_index(names="layer")


def ledger(table: pd.DataFrame) -> pd.DataFrame:
    """By way to train: losses of L, M and S where they were trained, skills of S, tokens and FLOPs; means over seeds.

    The parent is counted where a way begins from it: its tokens, at the FLOPs a token of the whole model's training.
    """
    rows = read_rows(table)
    rows = rows[[budget in sizes.split() for budget, sizes in zip(rows["budget"], rows["sizes"], strict=True)]]
    small = rows[rows["budget"] == "S"].groupby("name")
    whole = rows[rows["name"] == "L, further"]
    parent = (rows["parent.train.steps"] * rows["parent.train.batch"] * rows["parent.length"]).iloc[0] / 1e6
    a_token = (whole["train_flops"] / whole["train_tokens"]).mean()  # TFLOP a million tokens
    begun = (small["start"].first() == "parent") * parent
    found = rows.pivot_table(index="name", columns="budget", values="loss")[["L", "M", "S"]].add_prefix("loss of ")
    found = found.loc[list(small.groups)].join(small[["text", "facts", "recall"]].mean())
    found["million tokens"] = small["train_tokens"].mean() / 1e6
    found["with the parent"] = found["million tokens"] + begun
    found["TFLOP"] = small["train_flops"].mean() / 1e12
    found["TFLOP, the parent too"] = found["TFLOP"] + begun * a_token / 1e6
    found["TFLOP under masks"] = small["masked_flops"].mean() / 1e12
    return found.round(2).sort_values("loss of S").reset_index(names="trained as")


def in_short(table: pd.DataFrame) -> str:
    """The answer to the notebook's question, in numbers."""
    more = above_parent(table).groupby(["name", "budget"])["more"].mean()
    gap = apart(at_budget(table, "family", "S"), at_budget(table, "family", "below S"))
    alone, scratch = more["S alone", "S"], more["S from scratch, parent too", "S"]
    return (
        f"Yes, at the sizes that are trained. S of the family is {more['family', 'S']:.3f} nats above the whole "
        f"parent, and M {more['family', 'M']:.3f}. S alone, with three times its rows, is {alone:.3f} above it. "
        f"S from scratch, on the parent's tokens too, is {scratch:.3f} above it. Below S no slice works: "
        f"{gap.estimate:.2f} nats more."
    )


def on_long_rows(table: pd.DataFrame, column: str = "loss") -> pd.DataFrame:
    """A measure on long rows by second stage and size, a row a seed."""
    return table[table["what"] == "all"].pivot_table(index=["name", "seed"], columns="budget", values=column)


def stage_change(table: pd.DataFrame, first: str, second: str, budget: str, column: str = "loss") -> Interval:
    """How much more the second way has than the first, at a size, paired by seed."""
    found = on_long_rows(table, column)[budget]
    return apart(found[first], found[second])


def achieved(table: pd.DataFrame) -> pd.DataFrame:
    """By router and target: the share that its budget keeps, its loss, and the loss of the best budget tried."""
    rows = read_rows(table)
    found = rows[rows["what"] == "router"].set_index([*KEYS, "target"])[["share", "loss", "recall", "chosen"]]
    for what, short in (("best of those tried", "best"), ("soft masks", "soft")):
        other = rows[rows["what"] == what].set_index([*KEYS, "target"])["loss"]
        found[short] = other
    return found.reset_index()


def routers(table: pd.DataFrame) -> pd.DataFrame:
    """The same as means over seeds, for readers."""
    rows = achieved(table)
    means = rows.groupby(["name", "target"], sort=False)[["share", "loss", "best", "soft", "recall"]].mean().round(3)
    heads = {"share": "share kept", "best": "loss, best budget", "soft": "loss under its soft masks"}
    return means.rename(columns=heads).reset_index().rename(columns={"name": "router"})


def chosen(table: pd.DataFrame, names: tuple[str, ...] = ("homogeneous", "attention last")) -> pd.DataFrame:
    """What routers chose at their smallest target, a row a seed."""
    rows = achieved(table)
    rows = rows[(rows["target"] == rows["target"].min()) & rows["name"].isin(names)]
    axes = rows["chosen"].str.extract(r"width (.*), hidden (.*), mamba_heads (.*), heads (.*), layers \((.*)\)")
    axes.columns = ["channels", "neurons", "Mamba heads a group", "attention heads", "layers"]
    told = rows[["name", "seed", "recall"]].round(2)
    return pd.concat([told[["name", "seed"]], axes, told["recall"]], axis=1).rename(columns={"name": "router"})


def half_the_heads(table: pd.DataFrame) -> pd.DataFrame:
    """Loss with half of the Mamba heads, by the number of heads and by order: mean and range over seeds."""
    rows = table[table["axis"] == "heads"].dropna(subset=["loss"])
    rows = rows.assign(order=rows["what"].str.rpartition(", ")[2])
    found = rows.groupby(["name", "order"], sort=False)["loss"].agg(["mean", "min", "max"]).round(2)
    return found.reset_index().rename(columns={"name": "parent", "mean": "loss", "min": "lowest", "max": "highest"})


class HeadStart(NamedTuple):
    """How much of the head start of the ranked order is left at the end: an option of the prediction, and in words."""

    outcome: str
    words: str


def head_start(cut: pd.DataFrame, trained: pd.DataFrame) -> HeadStart:
    """Loss of S, random order minus ranked: cut without training, and after the family's training."""
    before = apart(*(cut_loss(cut, "all axes, S", order) for order in ("ranked", "random")))
    after = apart(*(at_budget(trained, name, "S") for name in ("family", "family, random order")))
    left = after.estimate / before.estimate
    outcome = "all of it" if left > 0.75 else "half" if left > 0.25 else "almost nothing"
    words = f"Loss of S, random order minus ranked: {before:.2f} nats before the training, {after:.3f} after it."
    return HeadStart(outcome, words)


def bytes_and_time(table: pd.DataFrame) -> pd.DataFrame:
    """By size and way: bytes of the weights, how many are shared with the parent, and time over the parent's own."""
    means = table.groupby(["size", "way"], sort=False)[["weight_bytes", "shared_bytes", "seconds"]].median()
    whole = means.loc[("L", "copy"), "seconds"]
    return pd.DataFrame({
        "MiB": (means["weight_bytes"] / 2**20).round(2),
        "MiB of its own": ((means["weight_bytes"] - means["shared_bytes"]) / 2**20).round(2),
        "time, 1: the parent": (means["seconds"] / whole).round(2),
    }).reset_index()  # fmt: skip
