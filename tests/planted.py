"""Tables in which a claim is made false, to see that its function sees it."""

from collections.abc import Callable, Iterable

import pandas as pd

from lablib.core.claims import NOT_SHOWN, Claim

Plant = Callable[[pd.DataFrame], pd.DataFrame]


def swapped(column: str, first, second) -> Plant:
    """Two names of a column change places: what was said of the one is true of the other."""
    return lambda table: table.assign(**{column: table[column].replace({first: second, second: first})})


def level(value: float, *measures: str, where: str = "index == index") -> Plant:
    """Measures that are the same everywhere, or in the rows of a query."""

    def planted(table: pd.DataFrame) -> pd.DataFrame:
        here = table.index.isin(table.query(where).index)
        return table.assign(**{name: table[name].mask(here, value) for name in measures})

    return planted


def shifted(by: float, measure: str, where: str) -> Plant:
    """A measure that is higher by an amount in the rows of a query."""

    def planted(table: pd.DataFrame) -> pd.DataFrame:
        here = table.index.isin(table.query(where).index)
        return table.assign(**{measure: table[measure].astype(float) + by * here})

    return planted


def few_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The first three seeds: no interval."""
    return table[table["seed"] < 3]


def check_claim(claim: Claim, table: pd.DataFrame, plant: Plant, *, exploratory: bool = False) -> None:
    """The claim holds in the recorded table and says whether it is exploratory; in the planted one it is not shown."""
    verdict = claim(table)
    assert verdict.holds, verdict
    assert ("exploratory" in verdict.caveat) == exploratory
    planted = claim(plant(table))
    assert planted.verdict == NOT_SHOWN, planted


def cases(claims: Iterable[Claim], *plants: Plant) -> list[tuple[Claim, Plant]]:
    """Each claim beside the table that makes it false. ValueError unless there is one for each."""
    return list(zip(claims, plants, strict=True))
