"""The figures of distillation: table in, plotly figure out, no torch."""

import pandas as pd

from lablib.core.tables import read_rows
from lablib.efficiency.summaries import BEST, best_rates, own_direction, stopped
from lablib.viz.chart import Axis, Chart, Panel, Reference, facets, figure, one_panel
from lablib.viz.style import AMBER, BLUE, GREY, PINK, TEAL, short

EXCESS = Axis("excess", "nats above the language", "log")
WAYS = {"CE": GREY, BEST: PINK, "half KD, half CE": AMBER, "KD from a teacher": BLUE, "KD from the language": TEAL}
RATE = Axis("train.optim.lr", "learning rate (log scale)", "values")


def _said(rows: pd.DataFrame, names, by: str = "name", column: str = "excess") -> str:
    means = rows.groupby(by)[column].mean()
    return "; ".join(f"{name}: {short(means[name])}" for name in names if name in means)


@figure
def distillation_figure(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Chart:
    """How far the student is from the language, by the tokens that it was trained on and by the kind of its labels.

    `own` arms are drawn over the recorded ones as open diamonds.
    """
    rows, yours = stopped(table), None if own is None or own.empty else read_rows(own)
    names = [name for name in WAYS if (rows["name"] == name).any()]
    middle = sorted(rows["tokens"].unique())[len(rows["tokens"].unique()) // 2]
    said = _said(rows[rows["tokens"] == middle], [name for name in names if "half" not in name])
    return one_panel(
        rows=rows, own=yours, x=Axis("tokens", "training tokens (log scale)", "values"), y=EXCESS, by="name",
        names=names, colours=WAYS, height=340, title=f"{middle:,} tokens: {said}",
    )  # fmt: skip


@figure
def distillation_rates_figure(table: pd.DataFrame) -> Chart:
    """How far the student is from the language, by learning rate, on other languages than those of the results.

    Hard labels are stopped at their best step.
    """
    rows = stopped(table)
    rows = rows[rows["name"] != "CE"] if (rows["name"] == BEST).any() else rows
    best = best_rates(rows, ["name", "tokens"])
    names = [name for name in WAYS if (rows["name"] == name).any()]
    panels = facets(rows, "tokens", title="{:,} tokens", x=RATE, y=EXCESS, by="name", names=names, colours=WAYS)
    low, high = short(best.min()), short(best.max())
    return Chart(panels=panels, title=f"The best learning rates lie between {low} and {high}")


@figure
def temperature_figure(table: pd.DataFrame) -> Chart:
    """How far the student is from the language, by the temperature of its labels."""
    rows = read_rows(table)
    said = _said(rows, sorted(rows["temperature"].unique()), "temperature")
    return one_panel(
        rows=rows, x=Axis("temperature", "temperature (log scale)", "values"), y=EXCESS,
        title=f"Nats above the language by temperature: {said}",
    )  # fmt: skip


@figure
def teachers_figure(table: pd.DataFrame) -> Chart:
    """A student of 4,000 tokens and its teacher: how far each is from the language, by what the teacher has read."""
    return _beside_teacher(table, "Students by what their teacher has read")


def _beside_teacher(table: pd.DataFrame, what: str) -> Chart:
    rows = read_rows(table)
    both = [rows.assign(who="student"), rows.assign(who="teacher", excess=rows["excess_teacher"])]
    return one_panel(
        rows=pd.concat(both), kind="bars", x=EXCESS._replace(kind="linear"), y=Axis("name"), by="who",
        names=["student", "teacher"], colours={"student": BLUE, "teacher": GREY},
        title=f"{what}: {_said(rows, list(rows['name'].unique()))}",
    )  # fmt: skip


@figure
def top_k_figure(table: pd.DataFrame) -> Chart:
    """How far the student is from the language, by how many of 24 probabilities are stored; dotted all of them."""
    rows = read_rows(table)
    parts = rows[rows["top"] > 0]
    parts = parts.assign(rest=parts["remainder"].map({True: "with the remainder", False: "without the remainder"}))
    whole = rows[rows["top"] == 0]["excess"].mean()
    least = parts[parts["top"] == parts["top"].min()]
    said = _said(least, ["with the remainder", "without the remainder"], "rest")
    return one_panel(
        rows=parts, x=Axis("top", "stored probabilities a position (log scale)", "values"), y=EXCESS, by="rest",
        colours={"with the remainder": BLUE, "without the remainder": PINK},
        references=[Reference(whole, "all")] if whole == whole else [],
        title=f"Top {least['top'].iloc[0]}: {said}",
    )  # fmt: skip


@figure
def directions_rates_figure(table: pd.DataFrame) -> Chart:
    """Each loss of a small student by learning rate, judged by what the loss asks for, on languages of its own."""
    rows = own_direction(table)
    best = best_rates(rows, ["name"], "judged")
    return one_panel(
        rows=rows, x=RATE, y=Axis("judged", "nats, of the loss's own direction (log scale)", "log"), by="name",
        title=f"The best learning rates lie between {short(best.min())} and {short(best.max())}",
    )  # fmt: skip


@figure
def directions_figure(table: pd.DataFrame) -> Chart:
    """A student that is too small: how far it is from the language, how surprising and how varied its own text is."""
    rows = read_rows(table)
    own = rows.groupby("name")["own_nats"].mean()
    said = f"{own.idxmin()}: {own.min():.2f}; {own.idxmax()}: {own.max():.2f}"
    measures = {"excess": "nats above the language", "own_nats": "its text: surprise (nats a token)",
                "entropy": "its text: entropy (nats a token)"}  # fmt: skip
    return Chart(
        panels=[Panel(rows=rows, kind="bars", x=Axis(name, title), y=Axis("name")) for name, title in measures.items()],
        title=f"Surprise at the student's own text: {said}",
    )


@figure
def gap_figure(table: pd.DataFrame) -> Chart:
    """A student of 8 channels and its teacher: how far each is from the language, by the teacher's size."""
    return _beside_teacher(table, "A small student by its teacher")
