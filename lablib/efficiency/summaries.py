"""Summaries of distillation and tuning: table -> numbers, a row or a value a seed."""

import pandas as pd

from lablib.core.tables import read_rows

BEST = "CE, stopped at its best"


def stopped(table: pd.DataFrame) -> pd.DataFrame:
    """After the training, and beside it hard labels stopped where the excess on other rows was lowest."""
    found, train = read_rows(table), table[(table["phase"] == "train") & (table["name"] == "CE")]
    if train.empty:
        return found
    best = train.loc[train.groupby("arm")["excess_choice"].idxmin()]
    return pd.concat([found, best.assign(name=BEST)], ignore_index=True)


def at(table: pd.DataFrame, name: str, column: str = "excess", **where) -> pd.Series:
    """A measure of one way, by seed; `where` holds columns and their values."""
    rows = table[table["name"] == name]
    for key, value in where.items():
        rows = rows[rows[key] == value]
    return rows.set_index("seed")[column].sort_index()


def best_rates(table: pd.DataFrame, keys: list[str], column: str = "excess") -> pd.Series:
    """By `keys`, the learning rate with the lowest mean of a measure over seeds."""
    means = table.groupby([*keys, "train.optim.lr"], sort=False)[column].mean()
    return means.groupby(keys, sort=False).idxmin().map(lambda place: place[-1])


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """After tuning, by method and shift: nats gained on the new language, nats lost on the old one."""
    rows = read_rows(table)
    gained, lost = rows["base_excess"] - rows["excess"], rows["excess_before"] - rows["base_excess_before"]
    return rows.assign(gained=gained, lost=lost)
