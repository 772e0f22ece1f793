"""Summaries of distillation and tuning: table -> numbers, a row or a value a seed."""

import pandas as pd

from lablib.core.stats import Interval, paired_difference

BEST = "CE, stopped at its best"


def read_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What was measured after the training."""
    return table[table["phase"] == "read"]


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


def difference(first: pd.Series, second: pd.Series) -> Interval:
    """second - first, over the seeds that both have."""
    shared = first.index.intersection(second.index)
    return paired_difference(first[shared], second[shared])


def best_rates(table: pd.DataFrame, keys: list[str], column: str = "excess") -> pd.Series:
    """By `keys`, the learning rate with the lowest mean of a measure over seeds."""
    means = table.groupby([*keys, "train.optim.lr"], sort=False)[column].mean()
    return means.groupby(keys, sort=False).idxmin().map(lambda place: place[-1])


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """After tuning, by method and shift: nats gained on the new language, nats lost on the old one."""
    rows = read_rows(table)
    gained, lost = rows["base_excess"] - rows["excess"], rows["excess_before"] - rows["base_excess_before"]
    return rows.assign(gained=gained, lost=lost)


def methods(table: pd.DataFrame) -> pd.DataFrame:
    """By shift and method, means over seeds, for readers."""
    rows = distances(table)
    keys = ["language.shift", "name"]
    means = rows.groupby(keys, sort=False)[["train.optim.lr", "parameters", "excess", "lost"]].mean()
    heads = {"train.optim.lr": "learning rate", "parameters": "trained parameters", "lost": "nats lost on the old one"}
    means = means.rename(columns=heads | {"excess": "excess on the new language (nats)"}).round(4)
    return means.reset_index().rename(columns={"language.shift": "shift", "name": "method"})
