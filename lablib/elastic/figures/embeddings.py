"""The figures of embeddings that may be cut: table in, plotly figure out, no torch."""

import pandas as pd

from lablib.elastic.matryoshka_claims import series
from lablib.viz.chart import Axis, Chart, Panel, Reference, figure, one_panel
from lablib.viz.style import AMBER, BLUE, GREEN, GREY, PINK, TEAL, short

COLOURS = {
    "MRL": BLUE, "MRL-E": TEAL, "MRL, more weight": TEAL, "independent": GREEN, "plain, PCA": AMBER, "plain, cut": GREY,
}  # fmt: skip
NUMBERS = Axis("dims", "numbers kept (log scale)", "values")
RIGHT = Axis("right", "share of right nearest neighbours")
SEARCHES = {"one scan": GREY, "shortlist of 50": PINK, "shortlist of 200": BLUE, "funnel": AMBER}


@figure
def classes_figure(table: pd.DataFrame) -> Chart:
    """Share of right classes by the nearest neighbour, by how many numbers of an embedding are kept."""
    return _by_numbers(table, 8)


@figure
def retrieval_figure(table: pd.DataFrame) -> Chart:
    """Share of queries whose nearest document is theirs, by how many numbers of an embedding are kept."""
    return _by_numbers(table, 16)


def _by_numbers(table: pd.DataFrame, m: int) -> Chart:
    rows = series(table[table["phase"] == "scan"])
    means = rows.groupby(["series", "dims"])["right"].mean()
    names = [name for name in COLOURS if name in means]
    said = "; ".join(f"{name} {short(means[name, m])}" for name in names)
    first = table.iloc[0]
    answers = first["task.groups"] * first["task.members"] if "task.groups" in table else first["documents"]
    return one_panel(
        rows=rows, x=NUMBERS, y=RIGHT, by="series", names=names, colours=COLOURS, height=340,
        references=[Reference(1 / answers, "a guess")],
        title=f"With {m} of 64 numbers: {said}", source=f"{int(table['queries'].iloc[0]):,} queries a seed",
    )  # fmt: skip


@figure
def adaptive_figure(table: pd.DataFrame) -> Chart:
    """Recall by the FLOPs of a query: one scan by fewer numbers, or a shortlist that all numbers rank again."""
    rows = series(table)
    parts = rows["stages"].str.count(",") + 1
    kept = rows["stages"].str.extract(r"/(\d+),")[0].fillna("")
    search = ("shortlist of " + kept).mask(parts == 1, "one scan").mask(parts > 2, "funnel")
    rows = rows.assign(search=search, percent=100 * rows["share"])
    at = rows[rows["stages"] == "16/200, 64/1"].groupby("series")["right"].mean()
    whole = rows[(rows["dims"] == 64) & (rows["phase"] == "scan")].groupby("series")["right"].mean()
    names = [name for name in ("MRL", "plain, PCA") if name in at]
    said = "; ".join(f"{name} {at[name]:.3f} (whole scan {whole[name]:.3f})" for name in names)
    flops = Axis("percent", "% of the whole scan's FLOPs (log scale)", "log")
    return Chart(
        panels=[
            Panel(rows=rows[rows["series"] == name], title=name, by="search", names=list(SEARCHES), colours=SEARCHES,
                  x=flops, y=RIGHT, references=[Reference(whole[name], "the whole scan")])
            for name in names
        ],
        title=f"A shortlist of 200 by 16 numbers, 30 % of the FLOPs: {said}",
        source=f"{int(table['documents'].iloc[0]):,} documents",
    )  # fmt: skip
