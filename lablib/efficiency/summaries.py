"""Summaries of distillation and tuning: table -> numbers, a row or a value a seed."""

from typing import NamedTuple

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


def own_direction(table: pd.DataFrame) -> pd.DataFrame:
    """Beside the distance of each small student, `judged`: what its loss asks for.

    For the reverse KL that is KL(student || language) on the student's own text, else the excess.
    """
    rows = read_rows(table)
    reverse = rows["name"].str.startswith("reverse KL")
    return rows.assign(judged=rows["excess"].mask(reverse, rows["own_nats"] - rows["entropy"]))


def distances(table: pd.DataFrame) -> pd.DataFrame:
    """After tuning, by method and shift: nats gained on the new language, nats lost on the old one."""
    rows = read_rows(table)
    gained, lost = rows["base_excess"] - rows["excess"], rows["excess_before"] - rows["base_excess_before"]
    return rows.assign(gained=gained, lost=lost)


class Outcome(NamedTuple):
    """An option of a prediction, and what was measured in words."""

    option: str
    words: str


def left_by_a_teacher(table: pd.DataFrame, tokens: int = 4000) -> Outcome:
    """How far the student of a trained teacher is from the language, as a share of the student of tokens."""
    rows = stopped(table)
    own, its = (at(rows, name, tokens=tokens).mean() for name in (BEST, "KD from a teacher"))
    option = "as far" if its > 0.75 * own else "half as far" if its > 0.25 * own else "a quarter as far or less"
    return Outcome(option, f"Nats above the language: {own:.2f} by tokens, {its:.2f} by the teacher.")


def loses_most(table: pd.DataFrame, names: tuple[str, ...] = ("full", "LoRA", "BitFit")) -> Outcome:
    """Which of some methods loses most of the old language, on new transitions."""
    rows = distances(table)
    means = rows[rows["language.shift"] == "transitions"].groupby("name")["lost"].mean()
    said = ", ".join(f"{name} {means[name]:.2f}" for name in names if name in means)
    return Outcome(means[[name for name in names if name in means]].idxmax(), f"Nats lost: {said}.")


def users_in_short(table: pd.DataFrame) -> pd.DataFrame:
    """By way: nats above a user's language, what is kept for four users and what one of them sends, in KiB."""
    rows = table.groupby("name", sort=False)[["excess", "excess_before", "kept", "sent"]].mean()
    return pd.DataFrame({
        "nats above the user's language": rows["excess"].round(2),
        "nats above the old one": rows["excess_before"].round(2),
        "KiB kept": (rows["kept"] / 1024).round(1),
        "KiB sent and got": (rows["sent"] / 1024).round(0),
    }).reset_index()  # fmt: skip


def by_method(table: pd.DataFrame, shift: str) -> pd.DataFrame:
    """By method on one shift: trained weights, the learning rate, distances from both languages; the base is first."""
    rows = distances(table)
    rows = rows[rows["language.shift"] == shift]
    means = rows.groupby("name", sort=False)[["parameters", "train.optim.lr", "excess", "lost"]].mean()
    base = pd.DataFrame({"parameters": 0, "excess": rows["base_excess"].mean(), "lost": 0.0}, index=["the base"])
    found = pd.concat([base, means])
    return pd.DataFrame({
        "method": found.index,
        "trained weights": found["parameters"].astype(int),
        "learning rate": found["train.optim.lr"].map(lambda rate: "" if rate != rate else f"{rate:g}"),
        "nats above the new language": found["excess"].round(2),
        "nats lost on the old one": found["lost"].round(2),
    })  # fmt: skip


def trained_share(table: pd.DataFrame) -> str:
    """How many weights each way trains, as a share of full tuning."""
    means = table.groupby("name", sort=False)["parameters"].mean()
    said = "; ".join(f"{name}: {value:,.0f} ({value / means['full']:.0%})" for name, value in means.items())
    return f"Trained weights: {said}."
