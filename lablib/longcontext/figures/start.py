"""The figure of notebook 00: what it costs to read a long input once. And the axes that notebooks 00 to 02 share."""

import pandas as pd

from lablib.longcontext.summaries import growth
from lablib.viz.chart import Axis, Chart, Panel, Reference, figure

SHARE = (-0.04, 1.06)  # the range of an axis of shares
LENGTH = Axis("length", "input length (tokens, log scale)", "length")
EXACT = Axis("exact", "exact recall", range=SHARE)
STEP = Axis("step", "training step")


def exact_at(length: int) -> Axis:
    """The axis of exact recall at one length."""
    return EXACT._replace(title=f"exact recall at {length:,} tokens")


def questions_asked(rows: pd.DataFrame) -> str:
    """How many questions each arm was asked at a length."""
    return f"{int(rows['haystacks'].iloc[0] * rows['questions'].max())} questions a seed"


def chance(rows: pd.DataFrame) -> list[Reference]:
    """The recall of a guess among all values."""
    return [Reference(1 / rows["data.num_values"].iloc[0], "chance")]


def recall_chart(rows: pd.DataFrame, by: str, title: str, *, source: str = "", **panel) -> Chart:
    """Exact recall by input length, a line a name in the column `by`; `source` stands before the questions asked."""
    panels = [Panel(rows=rows, x=LENGTH, y=EXACT, by=by, **panel)]
    return Chart(panels=panels, title=title, source=source + questions_asked(rows))


@figure
def cost_figure(table: pd.DataFrame) -> Chart:
    """CPU seconds by length for each kind of work, on logarithmic axes: a slope of 1 is linear, of 2 quadratic."""
    slopes = growth(table).set_index("work")["exponent"]
    return Chart(
        panels=[Panel(rows=table, x=LENGTH, y=Axis("work_seconds", "CPU seconds (log scale)", "log"), by="work")],
        title=f"The time of {slopes.idxmax()} grows with length to the power {slopes.max():.1f}",
        source="one thread",
        caption="CPU seconds to read an input once. Exponents fitted on the longer half: "
        + ", ".join(f"{work} {slope:.2f}" for work, slope in slopes.items())
        + ". Twice the length costs 2 to that power.",
    )
