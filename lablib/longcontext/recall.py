"""From the tables of `longcontext/reader`, `forecast` and `far` to what is said of them: table -> table."""

import pandas as pd

from lablib.core.stats import mean_interval, wilson

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
    """A row an arm and task of `longcontext/far`: exact recall and chunk recall over all depths, and the cost."""
    keys = ["reader", "haystack", "task", "length", "seed"]
    rows = []
    for names, group in with_reader(table).groupby(keys, sort=False):
        visible = group["visible"].sum()
        rows.append(
            {
                **dict(zip(keys, names, strict=True)),
                "exact": (group["exact"] * group["asked"]).sum() / group["asked"].sum(),
                "chunk_recall": 1 - group["missed"].sum() / visible if visible else float("nan"),
                "questions asked": group["asked"].sum(),
                **{name: group[name].iloc[0] for name in ("encode_seconds", "question_seconds", "peak_megabytes")},
                "store_bytes": group["store_bytes"].iloc[0],
            }
        )
    return pd.DataFrame(rows).sort_values(keys).reset_index(drop=True)


def recall_table(table: pd.DataFrame) -> pd.DataFrame:
    """By reader, haystack, task and length, the mean exact recall over seeds with its interval, and the lowest seed."""
    keys, rows = ["reader", "haystack", "task", "length"], []
    for names, group in recall_by_length(table).groupby(keys):
        interval = mean_interval(group["exact"])._asdict()
        lowest = {"lowest seed": group["exact"].min(), "seeds": len(group)}
        rows.append({**dict(zip(keys, names, strict=True)), **interval, **lowest})
    return pd.DataFrame(rows).rename(columns={"estimate": "exact"})


def misses(table: pd.DataFrame) -> pd.DataFrame:
    """A row an arm: chunks of single needles missed, with a Wilson interval, beside what the scores at 4K foretold.

    `inside`: whether the forecast of the generalised Pareto tail lies in the interval.
    """
    keys, rows = ["reader", "haystack", "length", "seed"], []
    alone = with_reader(table).query("task == 'one needle'")
    for names, group in alone.groupby(keys):
        missed, visible = int(group["missed"].sum()), int(group["visible"].sum())
        if visible == 0:
            continue
        found = wilson(missed, visible)
        laws = {name: group[name].iloc[0] for name in LAWS}
        inside = bool(found.low <= laws["pareto_miss"] <= found.high)
        measured = {"missed": missed, "visible": visible, "miss": found.estimate, "low": found.low, "high": found.high}
        rows.append({**dict(zip(keys, names, strict=True)), **measured, **laws, "inside": inside})
    return pd.DataFrame(rows)
