"""What is said of embeddings that may be cut: numbers of the tables, and claims on them."""

from collections.abc import Callable, Iterator

import pandas as pd

from lablib.core.claims import Check
from lablib.core.stats import Interval
from lablib.elastic.summaries import difference

CUT, PCA, WHOLE = "plain, cut", "plain, PCA", 64
Checks = Callable[[pd.DataFrame], Iterator[Check]]


def series(table: pd.DataFrame) -> pd.DataFrame:
    """What is reported, with a `series` each: a way to train, and a plain model that is cut, or cut after PCA."""
    plain = table["name"].str.startswith("plain")
    named = table["name"].mask(plain, table["name"] + ", " + table["how"])
    return table.assign(series=named)[(table["first_seed"] == 0) & ((table["how"] == "cut") | plain)]


def at(table: pd.DataFrame, name: str, m: int, column: str = "right") -> pd.Series:
    """A measure of a series with m numbers, by seed."""
    rows = series(table)
    rows = rows[(rows["phase"] == "scan") & (rows["series"] == name) & (rows["dims"] == m)]
    return rows.set_index("seed")[column].sort_index()


def searched(table: pd.DataFrame, name: str, stages: str) -> pd.Series:
    """Recall of a series by stages, such as "16/200, 64/1", by seed."""
    rows = series(table)
    return rows[(rows["series"] == name) & (rows["stages"] == stages)].set_index("seed")["right"].sort_index()


def less(table: pd.DataFrame, name: str, other: str, m: int, column: str = "right") -> Interval:
    """A series less another with m numbers, paired by seed."""
    return difference(at(table, other, m, column), at(table, name, m, column))


def best_rates(table: pd.DataFrame, how: str = "cut") -> pd.Series:
    """By way to train, the learning rate with the highest recall, averaged over numbers kept, seeds of the tuning."""
    rows = table[(table["first_seed"] > 0) & (table["phase"] == "scan") & (table["how"] == how)]
    means = rows.groupby(["name", "train.optim.lr"])["right"].mean()
    return means.groupby("name").idxmax().map(lambda place: place[1])
