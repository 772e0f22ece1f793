"""The figures of elastic models: table in, plotly figure out, no torch."""

import pandas as pd

from lablib.elastic.summaries import above_parent, achieved, of_small
from lablib.viz.chart import Axis, Chart, Panel, Reference, figure, one_panel
from lablib.viz.style import AMBER, BLUE, GREY, PINK, TEAL

LOSS = "loss (nats)"
MORE = "nats above the parent"
ORDERS = {"after the nonlinearity": TEAL, "ranked": BLUE, "unranked": GREY, "random": AMBER, "reversed": PINK}
CUTS = ("MLP 1/2", "MLP 1/4", "width 3/4", "Mamba heads 1/2", "attention heads 1/2", "all axes, M", "all axes, S")
SHARE = Axis("share", "share of the parent's parameters")
STAGES = {
    "no second stage": GREY, "short, uniform": AMBER, "long, uniform": BLUE, "short, by CE": PINK, "long, by CE": TEAL,
}  # fmt: skip
SIZES = {"L": BLUE, "M": TEAL, "S": AMBER}


@figure
def slicing_figure(table: pd.DataFrame) -> Chart:
    """Loss after a cut without any training, by the order in which the parts stand; random orders are means of five.

    *After the nonlinearity* is ranked, too, but neurons are scored by their outputs.
    """
    rows = table[table["cut"].isin(CUTS) & table["order"].isin(list(ORDERS))]
    rows = rows.groupby(["seed", "cut", "order", "store"], sort=False, as_index=False)["loss"].mean()
    whole = table.loc[table["order"] == "unranked"].query("cut == 'nothing'")["loss"].mean()
    small = rows[rows["cut"] == "all axes, S"].groupby("order")["loss"].mean()
    said = ", ".join(f"{name} {small[name]:.2f}" for name in ("ranked", "random", "reversed") if name in small)
    return one_panel(
        rows=rows, kind="bars", x=Axis("loss", LOSS), y=Axis("cut"), by="order", names=list(ORDERS), colours=ORDERS,
        references=[Reference(whole, "nothing cut", "x")], title=f"S cut without training, loss: {said}",
    )  # fmt: skip


@figure
def recovery_figure(table: pd.DataFrame) -> Chart:
    """How far S is from its teacher in the first steps of the family's training, by the order that it was cut in."""
    steps = table["step"]
    ends = [table[rows].groupby("name")["loss S"].mean() for rows in (steps == 1, steps > 0.9 * steps.max())]
    gaps = [float(end.get("reversed", end.max()) - end["ranked"]) for end in ends]
    return one_panel(
        rows=table, x=Axis("step", "step (log scale)", "log", ticks=(1, 2, 5, 10, 20, 50, 100)),
        y=Axis("loss S", "KL from the teacher, of S (nats)", "log"), by="name", colours=ORDERS,
        title=f"Reversed minus ranked order: {gaps[0]:.2f} nats at first, {gaps[1]:.2f} after {int(steps.max())} steps",
    )  # fmt: skip


@figure
def depth_figure(table: pd.DataFrame) -> Chart:
    """How much a layer matters, in shares of the layer that matters most: by three metrics, and what the loss says."""
    rows = table[table["metric"].isin(["nMSE", "KL", "loss"])]
    rows = rows.assign(what=rows["layer"].map(lambda layer: f"{layer} ") + rows["kind"])
    most = rows.groupby(["seed", "metric"])["score"].transform("max")
    rows = rows.assign(relative=rows["score"] / most).sort_values(["layer"], ascending=False)
    means = rows.groupby(["metric", "what"], sort=False)["relative"].mean()
    two = [f"{rows['layer'].max()} MLP", next(name for name in rows["what"] if "attention" in name)]
    by = {metric: " and ".join(f"{means[metric, name]:.2f}" for name in two) for metric in ("nMSE", "loss")}
    return one_panel(
        rows=rows, kind="bars", x=Axis("relative", "score, 1: the most important layer"), y=Axis("what"), by="metric",
        names=["nMSE", "KL", "loss"], colours={"nMSE": PINK, "KL": BLUE, "loss": GREY},
        title=f"Scores of the last MLP and of attention: nMSE {by['nMSE']}, loss {by['loss']}",
    )  # fmt: skip


@figure
def family_figure(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Chart:
    """Loss of S, the smallest size, minus that of the whole parent, by the way S was trained; held-out texts.

    `own` arms are drawn over the recorded ones as open diamonds.
    """
    rows, yours = of_small(above_parent(table)), None if own is None or own.empty else of_small(above_parent(own))
    means = rows.groupby("name")["more"].mean()
    first = ("S from scratch, parent too", "S alone", "family", "S from scratch", "S alone, a third")
    said = [f"{name} {means[name]:.2f}" for name in first if name in means]
    return one_panel(
        rows=rows.sort_values("name", key=lambda names: -names.map(means)), own=yours, kind="bars",
        x=Axis("more", MORE), y=Axis("name"), title=f"S above the parent, nats: {'; '.join(said)}",
    )  # fmt: skip


@figure
def path_figure(table: pd.DataFrame) -> Chart:
    """Loss minus that of the parent, after one training of L, M and S (dotted): sizes between them, and below."""
    rows = above_parent(table).query("name == 'family' and budget != 'teacher'")
    alone = rows["budget"].str.startswith("MLP")
    rows = rows.assign(way=alone.map({True: "MLPs alone", False: "all axes, from L to S"}))
    whole = rows[rows["budget"] == "L"].assign(way="MLPs alone")
    means = rows.groupby("budget")["more"].mean()
    trained = rows[rows["budget"].isin(list(SIZES))].groupby("budget")["share"].first()
    ticks = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
    return one_panel(
        rows=pd.concat([rows, whole]), x=SHARE, y=Axis("more", MORE, "log", ticks=ticks), by="way",
        colours={"all axes, from L to S": BLUE, "MLPs alone": AMBER}, geometric=True,
        references=[Reference(share, name, "x") for name, share in trained.items()],
        title=f"Nats above the parent: S {means['S']:.2f}, between M and S {means['M to S']:.2f}, "
        f"below S {means['below S']:.2f}",
    )  # fmt: skip


@figure
def stages_figure(table: pd.DataFrame) -> Chart:
    """Recall of S on long rows by how many tokens ago the value stood, after each second stage."""
    rows = table[(table["what"] == "by distance") & (table["budget"] == "S")]
    rotary = rows["name"].str.startswith("RoPE: ")
    rows = rows.assign(after=rows["name"].str.removeprefix("RoPE: ").str.replace("uniform, CE", "by CE"))
    names = list(STAGES)
    panels = [
        Panel(
            rows=rows[rotary == turned], title=title, by="after", names=names, colours=STAGES,
            x=Axis("nearest", "tokens ago, at least (log scale)", "values"),
            y=Axis("recall", "share of right recalls", range=(0, 1.03)),
        )
        for turned, title in ((False, "attention without positions"), (True, "attention with RoPE"))
        if (rotary == turned).any()
    ]  # fmt: skip
    far = rows[(rows["nearest"] == rows["nearest"].max()) & rotary].groupby("after")["recall"].mean()
    said = ", ".join(f"{name} {far[name]:.2f}" for name in names if name in far)
    return Chart(panels=panels, title=f"Recall of S with RoPE, farthest values: {said}")


@figure
def targets_figure(table: pd.DataFrame) -> Chart:
    """The share of the parameters that the router would keep, by step, and its targets (dotted)."""
    train = table[table["phase"] == "train"]
    targets = [column.removeprefix("share ") for column in train if column.startswith("share ")]
    names = [name for name in ("homogeneous", "heterogeneous", "cost weight 1") if (train["name"] == name).any()]
    panels = []
    for name in names:
        parts = [
            train[train["name"] == name].assign(target=target, kept=lambda rows, t=target: rows[f"share {t}"])
            for target in targets
        ]
        panels.append(
            Panel(
                rows=pd.concat(parts),
                title=name,
                x=Axis("step", "step"),
                y=Axis("kept", "share kept", range=(0.2, 1.05)),
                by="target",
                references=[Reference(float(target), f"target {target}") for target in targets],
            )
        )
    found = achieved(table).query("name == @names[0]").groupby("target")["share"].mean()
    said = "; ".join(f"{target:.2f} gives {share:.2f}" for target, share in found.items())
    return Chart(panels=panels, title=f"Target and share kept at the end, {names[0]}: {said}")


@figure
def router_figure(table: pd.DataFrame) -> Chart:
    """Loss of the budget that a router has chosen, less that of the best budget tried at the same target."""
    rows = achieved(table).merge(table.drop_duplicates(["name", "seed"])[["name", "seed", "store"]])
    rows = rows.assign(more=rows["loss"] - rows["best"], to=rows["target"].map(lambda t: f"target {t:.2f}"))
    mean = rows[rows["target"] < 1].groupby("name")["more"].mean()
    low, high = mean.idxmin(), mean.idxmax()
    return one_panel(
        rows=rows, kind="bars", x=Axis("more", "nats more than the best budget tried"), y=Axis("name"), by="to",
        references=[Reference(0, "the best", "x")],
        title=f"Nats above the best budget tried: {low} {mean[low]:.2f} to {high} {mean[high]:.2f}",
    )  # fmt: skip


@figure
def ranks_figure(table: pd.DataFrame) -> Chart:
    """Rank correlation of importance with that of 1,024 rows before the training, mean over layers, by axis.

    Width: channels of the residual stream. Channels: those of Mamba heads. Hidden: neurons.
    """
    rows = table.dropna(subset=["correlation"])
    rows = rows[rows["name"] == rows["name"].iloc[0]]
    rows = rows.groupby(["name", "seed", "store", "what", "axis"], sort=False, as_index=False)["correlation"].mean()
    low = rows.groupby("what")["correlation"].mean()
    return one_panel(
        rows=rows, kind="bars", x=Axis("correlation", "Spearman's rank correlation"), y=Axis("what"), by="axis",
        title=f"Rank correlation: {', '.join(f'{what} {value:.2f}' for what, value in low.items())}",
    )  # fmt: skip


@figure
def rates_figure(table: pd.DataFrame) -> Chart:
    """Loss of S by learning rate for each way to train, in short runs on other texts than those of the results."""
    rows = table[table["budget"] == "S"].rename(columns={"train.optim.lr": "rate"})
    best = rows.groupby(["name", "rate"])["loss"].mean().groupby("name").idxmin().map(lambda place: place[1])
    said = "; ".join(f"{name} {rate:g}" for name, rate in best.items())
    return one_panel(
        rows=rows, x=Axis("rate", "learning rate (log scale)", "values"), y=Axis("loss", LOSS), by="name",
        title=f"Best learning rate: {said}",
    )  # fmt: skip


@figure
def latency_figure(table: pd.DataFrame) -> Chart:
    """CPU time of a forward pass by size, over that of the parent: under masks, on views of its weights, as a copy."""
    whole = table[(table["size"] == "L") & (table["way"] == table["way"].iloc[-1])]["seconds"].mean()
    rows = table.assign(relative=table["seconds"] / (whole if whole == whole else table["seconds"].mean()))
    means = rows.groupby(["way", "size"])["relative"].mean()
    said = "; ".join(f"{way} {means[way].iloc[-1]:.2f}" for way in rows["way"].unique())
    return one_panel(
        rows=rows, kind="bars", x=Axis("relative", "CPU time, 1: the parent"), y=Axis("size"), by="way",
        title=f"Time of S over that of the parent: {said}",
    )  # fmt: skip
