"""Tables for people: names in words, units in the head, the digits that mean something, no index."""

from html import escape
from numbers import Integral, Real

import numpy as np
import pandas as pd
from IPython.display import display

ROWS = 10
WORDS = {
    "exact": "exact recall", "exact_inside": "recall inside the reach", "exact_outside": "recall outside the reach",
    "exact_reasoning": "exact recall of chains", "chunk_recall": "chunks found", "model.window": "window (tokens)",
    "window": "window (tokens)", "length": "length (tokens)", "reach": "reach (tokens)", "margin": "score margin",
    "near_share": "fusion weight inside the reach", "hsa_grad": "gradient of the HSA path (sum of norms)",
    "retrieval_grad": "gradient of its projections (sum of norms)", "steps_to_learn": "steps to a loss of 0.1",
    "work_seconds": "CPU seconds", "extra_megabytes": "extra memory (MiB)", "peak_megabytes": "peak memory (MiB)",
    "store": "runs", "local_loss": "local loss (nats)", "window_alone": "recall, windows alone",
    "hsa_alone": "recall, HSA alone", "trained_on": "trained on", "model.retrieval_init": "initialisation",
    "model.width": "width", "train.optim.lr": "learning rate", "asked_top_k": "asked with top-k", "loss": "loss (nats)",
    "encode_seconds": "reading (CPU s)", "question_seconds": "a question (CPU s)", "store_bytes": "store (bytes)",
    "floor_ms": "floor (ms)", "far": "recall far away", "seconds": "times as long", "shared": "shared memory (bytes)",
}  # fmt: skip
BOUNDS = ("low", "high")  # the ends of the interval of the column before them


def number(value: object) -> str:
    """A value in a cell: 12,345 of a count, 0.78 and 2.31 of a measure, 2e-3 of a small one, an empty cell for NaN."""
    if value is None or (isinstance(value, Real) and not isinstance(value, Integral) and np.isnan(value)):
        return ""
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{value:,}"
    if not isinstance(value, Real):
        return str(value)
    if value == 0 or 0.0095 <= abs(value) < 100:
        return f"{value:.{2 if abs(value) < 10 else 1}f}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits, power = f"{value:.1e}".split("e")
    return f"{float(digits):g}e{int(power)}"


class People:
    """A table as it is shown: HTML in a notebook and a report, text in a terminal."""

    def __init__(self, cells: pd.DataFrame, numeric: list[bool], note: str):
        self.cells, self.numeric, self.note = cells, numeric, note

    def __repr__(self) -> str:
        shown = self.cells.to_string(index=False) if len(self.cells) else "no rows"
        return shown + (f"\n{self.note}" if self.note else "")

    def _repr_html_(self) -> str:
        """Without colours of its own: a page's text and ground read in light and dark."""
        sides = ["right" if right else "left" for right in self.numeric]

        def row(tag: str, cells: object) -> str:
            parts = zip(sides, cells, strict=True)
            return "".join(f'<{tag} style="text-align:{side}">{escape(str(cell))}</{tag}>' for side, cell in parts)

        body = "".join(f"<tr>{row('td', cells)}</tr>" for cells in self.cells.itertuples(index=False))
        head = f"<thead><tr>{row('th', self.cells.columns)}</tr></thead>"
        return f"<table>{head}<tbody>{body}</tbody></table>" + (f"<p>{escape(self.note)}</p>" if self.note else "")


def readable(table: pd.DataFrame | pd.Series, *, rows: int = ROWS) -> People:
    """The columns in words, by WORDS where their names say too little, of the first `rows` rows.

    A column that is followed by `low` and `high` holds an estimate: the three are one cell, 0.78 [0.69, 0.86]. A cell
    without bounds, of fewer than five seeds, says so.
    """
    table = table.to_frame() if isinstance(table, pd.Series) else table
    table = table.reset_index() if table.index.names != [None] else table
    columns = {n: WORDS.get(n, str(n).replace("_", " ")) for n in table if n not in BOUNDS}
    places, shown, cells = list(table), table.head(rows), {}
    bounded = places[places.index("low") - 1] if {*BOUNDS} <= set(places) else None
    for name, words in columns.items():
        cells[words] = [number(value) for value in shown[name]]
        if name == bounded:
            cells[words] = list(map(_interval, cells[words], shown["low"], shown["high"]))
    numeric = [pd.api.types.is_numeric_dtype(table[name]) for name in columns]
    left = len(table) - rows
    return People(pd.DataFrame(cells), numeric, f"and {left} more rows" if left > 0 else "")


def _interval(cell: str, low: Real, high: Real) -> str:
    bounds = "(exploratory)" if np.isnan(low) else f"[{number(low)}, {number(high)}]"
    return f"{cell} {bounds}" if cell else ""


def show_table(table: pd.DataFrame | pd.Series, *, rows: int = ROWS) -> None:
    """Show a table for people; see `readable`."""
    display(readable(table, rows=rows))
