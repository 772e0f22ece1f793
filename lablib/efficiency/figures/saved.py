"""The figures of what small changes are used for, and of what a loss keeps: table in, plotly figure out, no torch."""

import pandas as pd

from lablib.viz.chart import Axis, Chart, Panel, figure
from lablib.viz.style import BLUE, GREY, TEAL, short

WORDS = {"rounded": "as rounded", "distilled": "adapter taught by the whole base", "tuned": "adapter tuned"}


@figure
def bits_figure(table: pd.DataFrame) -> Chart:
    """A base in few bits: how far it is from its language, alone and with an adapter; and an adapter's new language."""
    rows = table.assign(way=table["what"].map(WORDS), kind=table["bits"].map("{} bits".format))
    old, new = rows[rows["what"] != "tuned"], rows[rows["what"] == "tuned"]
    means = old[old["what"] == "rounded"].groupby("bits")["excess_before"].mean().sort_index(ascending=False)
    y = Axis("kind")
    return Chart(
        panels=[
            Panel(rows=old, kind="bars", x=Axis("excess_before", "nats above the old language"), y=y, by="way",
                  colours={WORDS["rounded"]: GREY, WORDS["distilled"]: BLUE}, title="the base"),
            Panel(rows=new, kind="bars", x=Axis("excess", "nats above the new language"), y=y, by="way",
                  colours={WORDS["tuned"]: TEAL}, title="tuned on top"),
        ],
        title="The base, " + "; ".join(f"{bits} bits: {short(value)}" for bits, value in means.items()),
    )  # fmt: skip


@figure
def users_figure(table: pd.DataFrame) -> Chart:
    """Four users of one base: how far the model of a user is from the user's language (mean), and what is kept."""
    rows = table.groupby(["name", "seed", "store"], sort=False, as_index=False)[["excess", "kept"]].mean()
    rows = rows.assign(kib=rows["kept"] / 1024)
    means = rows.groupby("name")["excess"].mean()
    said = f"{means.idxmin()}: {means.min():.2f}; {means.idxmax()}: {means.max():.2f}"
    return Chart(
        panels=[
            Panel(rows=rows, kind="bars", x=Axis("excess", "nats above the user's language"), y=Axis("name")),
            Panel(rows=rows, kind="bars", x=Axis("kib", "KiB kept beside the base"), y=Axis("name")),
        ],
        title=f"Nearest and furthest. {said}",
    )


@figure
def loss_figure(table: pd.DataFrame) -> Chart:
    """The distillation loss of 1,024 tokens: what is kept for the backward pass, and the time of both passes."""
    rows = table.assign(mib=table["kept_bytes"] / 2**20, ms=1e3 * table["seconds"])
    most = rows[rows["vocab"] == rows["vocab"].max()].groupby("provider")["mib"].mean()
    x, colours = (
        Axis("vocab", "vocabulary (log scale)", "values"),
        {"all logits": GREY, "by chunk": BLUE, "Liger": TEAL},
    )
    return Chart(
        panels=[
            Panel(rows=rows, x=x, y=Axis("mib", "MiB kept", "log"), by="provider", colours=colours),
            Panel(rows=rows, x=x, y=Axis("ms", "CPU ms a step", "log"), by="provider", colours=colours),
        ],
        title="Kept at the largest vocabulary, "
        + "; ".join(f"{name}: {value:.0f} MiB" for name, value in most.items()),
    )
