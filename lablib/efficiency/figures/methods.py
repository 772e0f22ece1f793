"""The figures of tuning with few parameters: table in, plotly figure out, no torch."""

import pandas as pd

from lablib.core.tables import read_rows
from lablib.efficiency.summaries import best_rates, distances
from lablib.viz.chart import Axis, Chart, facets, figure, one_panel
from lablib.viz.style import AMBER, BLUE, CRIMSON, GREEN, GREY, PINK, TEAL, short

METHODS = {
    "full": GREY, "LoRA": BLUE, "rsLoRA": TEAL, "DoRA": CRIMSON, "adapters": AMBER, "BitFit": PINK, "head": GREEN,
}  # fmt: skip
EXCESS = Axis("excess", "nats above the new language")
RATE = Axis("train.optim.lr", "learning rate (log scale)", "values")


@figure
def tuning_rates_figure(table: pd.DataFrame) -> Chart:
    """How far a tuned base is from the new language, by method and learning rate, on languages of its own."""
    rows = read_rows(table)
    best = best_rates(rows, ["language.shift", "name"])
    panels = facets(
        rows[rows["name"] != "rsLoRA"], "language.shift", title="shift: {}", x=RATE, y=EXCESS._replace(kind="log"),
        by="name", names=[name for name in METHODS if (rows["name"] == name).any() and name != "rsLoRA"],
        colours=METHODS,
    )  # fmt: skip
    said = []
    for shift in rows["language.shift"].unique():
        own = best[shift]
        said.append(f"{shift}: {own.idxmin()} {own.min():g} to {own.idxmax()} {own.max():g}")
    return Chart(panels=panels, title=f"Best learning rates, {'; '.join(said)}")


def _whole(column: str, title: str, rows: pd.DataFrame) -> Axis:
    """An axis that the values of one panel fill."""
    low, high = rows[column].min(), rows[column].max()
    return Axis(column, title, range=(low - 0.1 * (high - low), high + 0.1 * (high - low)))


@figure
def tuning_figure(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Chart:
    """What is learnt of the new language against what is lost of the old one, by method, at its best learning rate.

    `own` arms are drawn over the recorded ones as open diamonds.
    """
    rows = distances(table)
    yours = None if own is None or own.empty else distances(own)
    means = rows.groupby(["language.shift", "name"])["excess"].mean()
    said = [
        f"{shift}: {means[shift].idxmin()} {short(means[shift].min())}" for shift in rows["language.shift"].unique()
    ]
    panels = []
    for shift, part in rows.groupby("language.shift", sort=False):
        mine = None if yours is None else yours[yours["language.shift"] == shift]
        panels += facets(
            part, "language.shift", title="shift: {}", kind="plane", by="name", colours=METHODS, own=mine,
            x=_whole("lost", "nats lost on the old language", part), y=_whole(*EXCESS[:2], part),
            names=[name for name in METHODS if (part["name"] == name).any()],
        )  # fmt: skip
    return Chart(panels=panels, title=f"Nearest to the new language: {'; '.join(said)}")


@figure
def forgetting_figure(table: pd.DataFrame) -> Chart:
    """What is lost of the old language for what is learnt of the new one; a mark a learning rate, low ones left."""
    rows = distances(table)
    means = rows.groupby(["name", "train.optim.lr"], sort=False)["lost"].transform("mean")
    most = {name: part["excess"].groupby(part["train.optim.lr"]).mean().min() for name, part in rows.groupby("name")}
    said = "; ".join(f"{name}: {short(most[name])}" for name in rows["name"].unique())
    return one_panel(
        rows=rows.assign(mean_lost=means), x=Axis("mean_lost", "nats lost on the old language, mean over seeds"),
        y=EXCESS, by="name", colours={"full": GREY, "LoRA, rank 4": BLUE, "LoRA, rank 16": TEAL},
        title=f"Nearest to the new language: {said}",
    )  # fmt: skip


@figure
def ranks_figure(table: pd.DataFrame) -> Chart:
    """How far LoRA is from the new language by learning rate and rank; alpha is divided by the rank, or by its root."""
    rows = read_rows(table)
    rows = rows.assign(scaling=rows["name"].str.split(",").str[0], rank=rows["tuning.rank"].map("rank {}".format))
    best = best_rates(rows, ["scaling", "rank"])
    ranks = [f"rank {rank}" for rank in sorted(rows["tuning.rank"].unique())]
    said = [f"{name}: {best[name].max() / best[name].min():.0f} times" for name in rows["scaling"].unique()]
    panels = facets(rows, "scaling", x=RATE, y=EXCESS._replace(kind="log"), by="rank", names=ranks)
    return Chart(panels=panels, title=f"From rank to rank the best rate moves: {'; '.join(said)}")


@figure
def capacity_rates_figure(table: pd.DataFrame) -> Chart:
    """How far each way to tune is from a language that is new altogether, by learning rate, on languages of its own."""
    rows = read_rows(table)
    best = best_rates(rows, ["name"])
    return one_panel(
        rows=rows, x=RATE, y=EXCESS._replace(kind="log"), by="name",
        title=f"The best learning rates lie between {short(best.min())} and {short(best.max())}",
    )  # fmt: skip


@figure
def capacity_figure(table: pd.DataFrame) -> Chart:
    """How far the tuned model is from a language that is new in every context, after 64,000 tokens."""
    rows = read_rows(table)
    means = rows.groupby("name", sort=False)["excess"].mean()
    said = "; ".join(f"{name}: {short(value)}" for name, value in means.items())
    return one_panel(rows=rows, kind="bars", x=EXCESS, y=Axis("name"), title=f"A new language: {said}")


@figure
def memory_figure(table: pd.DataFrame) -> Chart:
    """Memory of a training step by method: activations for the backward pass, gradients, and the optimiser."""
    added = table["gradient_bytes"] + table["optimizer_bytes"]
    parts = [
        table.assign(what="activations", mib=table["activation_bytes"] / 2**20),
        table.assign(what="gradients and optimiser", mib=added / 2**20),
    ]
    rows = pd.concat(parts)
    means = rows[rows["what"] == "activations"].groupby("method", sort=False)["mib"].mean()
    said = "; ".join(f"{name}: {means[name]:.0f} MiB" for name in means.index if name in ("full", "LoRA", "BitFit"))
    return one_panel(
        rows=rows, kind="bars", x=Axis("mib", "MiB"), y=Axis("method"), by="what",
        colours={"activations": BLUE, "gradients and optimiser": AMBER}, title=f"Activations: {said}",
    )  # fmt: skip
