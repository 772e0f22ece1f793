"""From rows of runs to numbers: names for variants, means with intervals, paired differences, shares of seeds.

A summary has the columns it is grouped by, then `seeds`, the measure, `low` and `high` (a 95 % interval, NaN below five
seeds). Rows come in with one row a seed and group: what stands beside it (questions, positions) is averaged before.
"""

from collections.abc import Callable, Sequence

import pandas as pd

from lablib.core.stats import Interval, mean_interval, paired_difference, wilson

By = str | Sequence[str]


def with_names(table: pd.DataFrame, named: dict[str, dict], *, column: str, otherwise: str) -> pd.DataFrame:
    """The table with a column that names each row by the first entry of `named` whose conditions all hold.

    Conditions map a column to its value: `{"full attention": {"model.plan": "full full"}}`.
    """
    names = pd.Series(otherwise, index=table.index, dtype=object)
    for name, conditions in reversed(named.items()):
        names[(table[[*conditions]] == pd.Series(conditions, dtype=object)).all(axis=1)] = name
    return table.assign(**{column: names})


def columns(interval: Interval, measure: str) -> dict[str, int | float]:
    """An interval as columns of a summary: `seeds`, the measure, `low`, `high`."""
    return {"seeds": interval.seeds, measure: interval.estimate, "low": interval.low, "high": interval.high}


def interval(row: pd.Series, measure: str) -> Interval:
    """The interval that a row of a summary holds."""
    return Interval(*(float(row[name]) for name in (measure, "low", "high")), int(row["seeds"]))


def grouped(table: pd.DataFrame, by: By, numbers: Callable[[pd.DataFrame], dict], sort: bool = False) -> pd.DataFrame:
    """A row a group: the values of `by`, then what `numbers` says of the group's rows; in the order of the table."""
    by = [by] if isinstance(by, str) else list(by)
    found = [
        dict(zip(by, names, strict=True)) | numbers(group)
        for names, group in table.groupby(by, sort=sort, observed=True)
    ]
    return pd.DataFrame(found) if found else pd.DataFrame(columns=by)


def means(table: pd.DataFrame, measure: str, by: By, sort: bool = False) -> pd.DataFrame:
    """By group: seeds, mean over seeds and its interval. ValueError where a group has several rows a seed."""

    def mean(group: pd.DataFrame) -> dict:
        if group.duplicated("seed").any():
            rows = group["seed"].value_counts().to_dict()
            raise ValueError(f"{measure} by {by}: expected one row a seed and group; a group has rows by seed {rows}")
        return columns(mean_interval(group[measure]), measure)

    return grouped(table.dropna(subset=[measure]), by, mean, sort)


def pairs(table: pd.DataFrame, measure: str, first: object, second: object, by: str) -> tuple[pd.Series, pd.Series]:
    """The measure of the groups `first` and `second` of the column `by`, over the seeds that both have.

    Raises ValueError where a group is missing or has several rows a seed.
    """
    rows = table[table[by].isin([first, second])]
    if set(rows[by]) != {first, second} or rows.duplicated([by, "seed"]).any():
        there = table[by].value_counts(sort=False).to_dict()
        raise ValueError(f"expected one row a seed of {by} {first!r} and of {second!r}; the table has rows of {there}")
    both = rows.pivot(index="seed", columns=by, values=measure)[[first, second]].dropna()
    return both[first], both[second]


def difference(table: pd.DataFrame, measure: str, first: object, second: object, by: str) -> Interval:
    """The group `second` of the column `by` less the group `first`, paired by seed. ValueError as in `pairs`."""
    return paired_difference(*pairs(table, measure, first, second, by))


def apart(first: pd.Series, second: pd.Series) -> Interval:
    """second - first, of measures by seed, over the seeds that both have. ValueError where they share none."""
    shared = first.index.intersection(second.index)
    return paired_difference(first[shared], second[shared])


def read_rows(table: pd.DataFrame) -> pd.DataFrame:
    """What was measured after the training, in a table that has the training's steps too (column `phase`)."""
    return table[table["phase"] == "read"]


def differences(
    table: pd.DataFrame, measure: str, first: object, second: object, *, by: str, across: By
) -> pd.DataFrame:
    """`difference` in each group of `across`: the means of both, then `difference`, `low` and `high`."""

    def of_group(group: pd.DataFrame) -> dict:
        one, two = pairs(group, measure, first, second, by)
        found = columns(paired_difference(one, two), "difference")
        return {"seeds": found.pop("seeds"), first: one.mean(), second: two.mean()} | found

    return grouped(table, across, of_group)


def shares(table: pd.DataFrame, measure: str, by: By, at_least: float, sort: bool = False) -> pd.DataFrame:
    """By group: how many seeds reach a level (`count`: "4 of 5"), and their share with Wilson's interval."""

    def share(group: pd.DataFrame) -> dict:
        good = int((group[measure] >= at_least).sum())
        return {"count": f"{good} of {len(group)}"} | columns(wilson(good, len(group)), "share")

    return grouped(table, by, share, sort)
