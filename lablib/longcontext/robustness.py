"""Summaries of the robustness checks of notebook 01: the race, the tuning, the harder haystacks, the chains."""

import numpy as np
import pandas as pd

from lablib.core import tables
from lablib.core.stats import Interval, mean_interval
from lablib.longcontext.summaries import RETRIEVES

CIRCUITS = ("HSA", "either", "only both together", "windows", "none")
# rows of training, by what they hold: the first that matches names them
TRAINED_ON: dict[str, dict[str, object]] = {
    "one needle in real text": {"data.haystack": "text"},
    "two needles, keys share a token": {"data.key_tokens": 2},
    "six needles": {"data.num_pairs": 6},
    "one needle": {"data.num_pairs": 1},
}


# ---- the race


def with_group(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `longcontext/race` with a column `group`: the window, and whether it was cut for the second part."""
    group = "window " + table["model.window"].astype(str)
    cut = table["more_window"].notna()
    group[cut] += ", then " + table.loc[cut, "more_window"].astype(int).astype(str)
    return table.assign(group=group)


def circuits(table: pd.DataFrame) -> pd.DataFrame:
    """By arm and part, the last answers of each circuit, and the `circuit` that answers at the training length.

    HSA or windows: that one alone answers at least RETRIEVES of the questions, and the other alone does not.
    """
    asked = with_group(table).dropna(subset=["whole"]).sort_values("step")
    last = asked.groupby(["arm", "part"]).last().reset_index()
    hsa, windows, whole = (last[name] >= RETRIEVES for name in ("hsa_alone", "window_alone", "whole"))
    names = ["either", "HSA", "windows", "only both together"]
    last["circuit"] = np.select([hsa & windows, hsa, windows, whole], names, "none")
    return last.sort_values(["group", "seed", "part"])


def circuit_shares(table: pd.DataFrame) -> pd.DataFrame:
    """By group and part: the mean recall far beyond the training length, and how many seeds answer by which circuit."""
    if table.empty:
        return table
    found = circuits(table)
    counts = pd.crosstab([found["group"], found["part"]], found["circuit"])
    counts = counts.reindex(columns=[name for name in CIRCUITS if name in counts])
    return tables.means(found, "far", ["group", "part"]).merge(counts.reset_index())


def steps_to_criterion(table: pd.DataFrame, accuracy: float = 0.99, running: int = 5) -> pd.DataFrame:
    """By arm, the first logged step from which `running` logged batches in a row reach an in-domain accuracy.

    NaN where that never happens. Beside it, the HSA gradient summed until then and over everything after.
    """

    def first(run: pd.DataFrame) -> dict:
        good = (run["accuracy"] >= accuracy).astype(float)[::-1].rolling(running).min()[::-1]
        step = run.loc[good == 1, "step"].min()
        until = run["step"] <= step
        return {
            "steps": float(step),
            "hsa_grad_until": run.loc[until, "hsa_grad"].sum(),
            "hsa_grad_after": run.loc[~until, "hsa_grad"].sum(),
        }

    return tables.grouped(with_group(table).sort_values("step"), ["group", "seed"], first, sort=True)


def gained(table: pd.DataFrame, group: str) -> Interval:
    """What the second part of the training adds to the recall far away in one group, paired by seed."""
    return tables.difference(circuits(table).query("group == @group"), "far", 1, 2, by="part")


# ---- both ends


def both_ends(rows: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """By condition, the exact recall of the narrow and of the wide end window, and wide less narrow, paired by seed."""
    narrow, wide = (int(rows["model.window"].agg(end)) for end in ("min", "max"))
    found = tables.differences(rows, "exact", narrow, wide, by="model.window", across=by)
    named = {narrow: f"window {narrow}", wide: f"window {wide}", "difference": "wide less narrow"}
    return found.rename(columns=named)


def with_training(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `longcontext/harder` with a column `trained_on`, which names the rows of the training."""
    return tables.with_names(table, TRAINED_ON, column="trained_on", otherwise="other rows")


def harder_ends(table: pd.DataFrame, length: int) -> pd.DataFrame:
    """`both_ends` of `longcontext/harder` at a length, by rows of the training and condition of the questions."""
    return both_ends(with_training(table).query("length == @length"), ["trained_on", "condition"])


def by_needle(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `longcontext/placements`, a row a kind of `needle`: whole, or parted by a chunk border."""
    parts = [table.assign(needle=name, exact=table[f"exact_{name}"]) for name in ("whole", "parted")]
    return with_training(pd.concat(parts, ignore_index=True))


def tuned_ends(table: pd.DataFrame, length: int) -> pd.DataFrame:
    """`both_ends` of `longcontext/tuning` at a length, by initialisation, width and learning rate.

    Beside it the lowest held-out accuracy of any seed at the training length: an arm that has not learnt says nothing.
    """
    by = ["model.retrieval_init", "model.width", "train.optim.lr"]
    rows = table[(table["phase"] == "test") & (table["length"] == length)]
    learnt = table[table["phase"] == "heldout"].groupby(by)["accuracy"].min().rename("in-domain, lowest")
    return both_ends(rows, by).merge(learnt.reset_index(), on=by)


# ---- chains


def with_chain_model(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `longcontext/tracking` with a column `chain_model`: the HSA groups, and what else is different."""
    groups = table["model.plan"].str.count("hsa").map({1: "one group", 2: "two groups"})
    wide = ", window " + table["model.window"].astype(str)
    named = groups + wide.where(table["model.window"] != table["model.window"].min(), "")
    named += table["restated"].eq(0).map({True: ", no restated rows", False: ""})
    named += table["model.retrieval_init"].ne("identity-read").map({True: ", reads start ordinary", False: ""})
    return table.assign(chain_model=named)


def chain_recall(table: pd.DataFrame, length: int) -> pd.DataFrame:
    """By model, recall of chains at a length with its interval, and how often the other chain's value was given.

    `follow`: the seeds nearer to always right than to a guess among the chains' values.
    """

    def recall(group: pd.DataFrame) -> dict:
        above = (1 + 1 / group["data.num_pairs"].iloc[0]) / 2
        follow = f"{(group['exact'] > above).sum()} of {len(group)}"
        found = tables.columns(mean_interval(group["exact"]), "exact")
        return {"follow": follow} | found | {"other value": group["lured"].mean()}

    rows = with_chain_model(table).query("phase == 'test' and length == @length")
    return tables.grouped(rows.rename(columns={"chain_model": "model"}), "model", recall)
