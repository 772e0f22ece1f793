"""From the tables of notebook 07 to the numbers said of them: table -> table."""

import math
from itertools import pairwise

import pandas as pd


def beside_the_floor(table: pd.DataFrame) -> pd.DataFrame:
    """A row an operator, mode, shape and provider: median ms over seeds, and how many times the floor that is."""
    if table.empty:
        return table
    rows = table.assign(ms=1e3 * table["seconds"], floor_ms=1e3 * table["floor_seconds"])
    rows["times the floor"] = table["seconds"] / table["floor_seconds"]
    keys = ["operator", "mode", "shape.time", "shape.dim", "shape.kv_heads", "provider"]
    means = rows.groupby(keys, sort=False)[["ms", "floor_ms", "times the floor", "error"]].median().reset_index()
    same = rows.groupby(keys, sort=False)["same_work"].first().reset_index(drop=True)
    means["error"] = means["error"].map("{:.0e}".format).where(same, "other work")
    named = {"shape.time": "tokens", "shape.dim": "dim", "shape.kv_heads": "kv heads"}
    return means.rename(columns=named)


def over(table: pd.DataFrame, base: str, *, operator: str, mode: str, tokens: int) -> pd.Series:
    """Median seconds of each provider over those of `base`, on one shape of this length: ValueError for none or two."""
    rows = table[(table["operator"] == operator) & (table["mode"] == mode) & (table["shape.time"] == tokens)]
    if len(shapes := rows[["shape.dim", "shape.kv_heads"]].drop_duplicates()) > 1:
        raise ValueError(f"{operator}, {mode}, {tokens} tokens: {len(shapes)} shapes; choose the rows of one")
    seconds = rows.groupby("provider", sort=False)["seconds"].median()
    if base not in seconds:
        raise ValueError(f"{operator}, {mode}, {tokens} tokens: there is no {base!r}; there are {list(seconds.index)}")
    return seconds / seconds[base]


def over_causal(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of each provider with `times`, its seconds over those of causal attention on the same operands."""
    keys = ["operator", "mode", "shape.time", "shape.dim", "shape.kv_heads", "seed"]
    causal = table[table["provider"] == "causal SDPA"].set_index(keys)["seconds"].rename("causal_seconds")
    rows = table[table["provider"] != "causal SDPA"].join(causal, on=keys, how="inner")
    return rows.assign(times=rows["seconds"] / rows["causal_seconds"])


def crossing(rows: pd.DataFrame) -> float:
    """Tokens from which one provider is faster than causal attention, between lengths on a line in logarithms.

    From `over_causal`. The first length if it is faster throughout, infinity if it is not at the last.
    """
    means = rows.groupby("shape.time")["times"].mean()
    slower = means.index[means >= 1]
    if not len(slower):
        return float(means.index[0])
    for (before, above), (after, below) in pairwise(means.items()):
        if before == slower[-1]:
            return float(before * (after / before) ** (math.log(above) / math.log(above / below)))
    return math.inf
