"""Summaries of the readers of very long inputs (`longcontext/reader`, `forecast`, `far`): table -> numbers."""

import pandas as pd

from lablib.core import tables
from lablib.core.stats import wilson

LAWS = {"pareto_miss": "generalised Pareto tail", "gaussian_miss": "normal tail"}


def with_reader(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `reader`: the training, whole or stopped after so many steps of its first part."""
    stopped = "stopped after " + table["train.steps"].astype(str) + " steps"
    more = table["more.steps"] if "more.steps" in table else pd.Series(float("nan"), index=table.index)
    return table.assign(reader=stopped.where(more.isna(), "whole training"))


def whole_readers(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the readers whose training was not stopped."""
    return with_reader(table).query("reader == 'whole training'")


def recall_by_length(table: pd.DataFrame) -> pd.DataFrame:
    """A row an arm and task of `longcontext/long_range`: exact recall and chunk recall over all depths, and cost."""

    def over_depths(group: pd.DataFrame) -> dict:
        visible = group["visible"].sum()
        return {
            "exact": (group["exact"] * group["asked"]).sum() / group["asked"].sum(),
            "chunk_recall": 1 - group["missed"].sum() / visible if visible else float("nan"),
            "questions asked": group["asked"].sum(),
            **group[["encode_seconds", "question_seconds", "peak_megabytes", "store_bytes"]].iloc[0],
        }

    keys = ["reader", "haystack", "task", "length", "seed"]
    return tables.grouped(with_reader(table), keys, over_depths, sort=True)


def recall_table(table: pd.DataFrame) -> pd.DataFrame:
    """By reader, haystack, task and length, the mean exact recall over seeds with its interval, and the lowest seed."""
    rows, keys = recall_by_length(table), ["reader", "haystack", "task", "length"]
    lowest = rows.groupby(keys)["exact"].min().rename("lowest seed")
    return tables.means(rows, "exact", keys).merge(lowest.reset_index(), on=keys)


def misses(table: pd.DataFrame) -> pd.DataFrame:
    """A row an arm: chunks of single needles missed, with a Wilson interval, beside what the scores at 4K foretold.

    `inside`: whether the forecast of the generalised Pareto tail lies in the interval. The interval is that of
    independent questions; the questions of an arm share a haystack, so it is narrower than it should be.
    """

    def counted(group: pd.DataFrame) -> dict:
        missed, visible = int(group["missed"].sum()), int(group["visible"].sum())
        found, laws = wilson(missed, visible), group[list(LAWS)].iloc[0].to_dict()
        measured = {"missed": missed, "visible": visible, "miss": found.estimate, "low": found.low, "high": found.high}
        return measured | laws | {"inside": bool(found.low <= laws["pareto_miss"] <= found.high)}

    rows, keys = with_reader(table).query("task == 'one needle'"), ["reader", "haystack", "length", "seed"]
    return tables.grouped(rows[rows.groupby(keys)["visible"].transform("sum") > 0], keys, counted, sort=True)


def forecast_in_words(table: pd.DataFrame) -> str:
    """In how many cases beyond 4K tokens the count of misses is as forecast, and in how many with a miss."""
    cases = misses(table).query("length > 4096")
    missed = cases[cases["missed"] > 0]
    repeats = table["repeats_after"].min()
    said = f"The forecast lies in the 95 % interval of the count in {cases['inside'].sum()} of {len(cases)} cases; "
    said += f"95 % would be {0.95 * len(cases):.0f}. Of the {len(missed)} cases with a miss {missed['inside'].sum()} "
    said += f"lie inside. (The real text begins to repeat after {repeats:,.0f} tokens.)"
    whole = cases[cases["reader"] == "whole training"]
    longest = whole[whole["length"] == whole["length"].max()]
    for name, rows in longest.groupby("haystack", sort=False):
        told, counted = rows["pareto_miss"].mean(), rows["miss"].mean()
        said += f" The readers that were asked at {longest['length'].max():,} tokens of {name} miss {counted:.1%}; "
        said += f"for these {told:.1%} were foretold."
    return said


def costs(table: pd.DataFrame) -> pd.DataFrame:
    """By haystack and length, for one needle and readers of the whole training: seconds, memory and store."""
    rows = recall_by_length(table).query("task == 'one needle' and reader == 'whole training'")
    shown = ["encode_seconds", "question_seconds", "peak_megabytes", "store_bytes"]
    return rows[rows["haystack"] == "text"].groupby("length")[shown].mean().tail(8)
