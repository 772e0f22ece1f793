"""From the tables that doubt the seesaw to the numbers said of them: table -> table, with intervals."""

import pandas as pd

from lablib.core.stats import Interval, mean_interval, paired_difference
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
    return last.assign(circuit=[_circuit(row) for row in last.to_dict("records")]).sort_values(
        ["group", "seed", "part"]
    )


def _circuit(row: dict) -> str:
    hsa, windows = row["hsa_alone"] >= RETRIEVES, row["window_alone"] >= RETRIEVES
    if hsa and windows:
        return "either"
    if hsa or windows:
        return "HSA" if hsa else "windows"
    return "only both together" if row["whole"] >= RETRIEVES else "none"


def circuit_shares(table: pd.DataFrame) -> pd.DataFrame:
    """By group and part: how many seeds answer by which circuit, and the mean recall far beyond the training length."""
    found = circuits(table)
    by = found.groupby(["group", "part"])
    counts = pd.crosstab([found["group"], found["part"]], found["circuit"])
    counts = counts.reindex(columns=[name for name in CIRCUITS if name in counts])
    far = by["far"].apply(lambda values: pd.Series(mean_interval(values)._asdict())).unstack()
    far = far.rename(columns={"estimate": "far"})[["far", "low", "high"]]
    return by["seed"].nunique().rename("seeds").to_frame().join(counts).join(far).reset_index()


def steps_to_criterion(table: pd.DataFrame, accuracy: float = 0.99, running: int = 5) -> pd.DataFrame:
    """By arm, the first logged step from which `running` logged batches in a row reach an in-domain accuracy.

    NaN where that never happens. Beside it, the HSA gradient summed until then and over everything after.
    """
    rows = with_group(table).sort_values("step")
    found = []
    for (group, seed), run in rows.groupby(["group", "seed"]):
        good = (run["accuracy"] >= accuracy).astype(float)[::-1].rolling(running).min()[::-1]
        reached = run.loc[good == 1, "step"]
        step = float(reached.min()) if len(reached) else float("nan")
        until = run["step"] <= step
        sums = {"hsa_grad_until": run.loc[until, "hsa_grad"].sum(), "hsa_grad_after": run.loc[~until, "hsa_grad"].sum()}
        found.append({"group": group, "seed": seed, "steps": step, **sums})
    return pd.DataFrame(found)


def gained(table: pd.DataFrame, group: str, measure: str = "far") -> Interval:
    """What the second part of the training adds to a measure in one group, paired by seed."""
    found = circuits(table)
    ends = found[found["group"] == group].pivot(index="seed", columns="part", values=measure)
    return paired_difference(ends[1], ends[2])


# ---- both ends


def both_ends(rows: pd.DataFrame, by: list[str], measure: str = "exact") -> pd.DataFrame:
    """By condition, the measure of the narrow and of the wide end window, and wide less narrow, paired by seed."""
    narrow, wide = (int(rows["model.window"].agg(end)) for end in ("min", "max"))
    found = []
    for names, group in rows.groupby(by, sort=False):
        pairs = group.pivot(index="seed", columns="model.window", values=measure)[[narrow, wide]].dropna()
        found.append(
            {
                **dict(zip(by, names, strict=True)),
                "seeds": len(pairs),
                f"window {narrow}": pairs[narrow].mean(),
                f"window {wide}": pairs[wide].mean(),
                **paired_difference(pairs[narrow], pairs[wide])._asdict(),
            }
        )
    return pd.DataFrame(found).rename(columns={"estimate": "wide less narrow"})


def with_training(table: pd.DataFrame) -> pd.DataFrame:
    """The table of `longcontext/harder` with a column `trained_on`, which names the rows of the training."""
    named = pd.Series("other rows", index=table.index)
    for name, conditions in reversed(TRAINED_ON.items()):
        named[(table[list(conditions)] == pd.Series(conditions)).all(axis=1)] = name
    return table.assign(trained_on=named)


def harder_ends(table: pd.DataFrame, length: int, measure: str = "exact") -> pd.DataFrame:
    """`both_ends` of `longcontext/harder` at a length, by rows of the training and condition of the questions."""
    rows = with_training(table)
    return both_ends(rows[rows["length"] == length], ["trained_on", "condition"], measure)


def tuned_ends(table: pd.DataFrame, length: int, measure: str = "exact") -> pd.DataFrame:
    """`both_ends` of `longcontext/tuning` at a length, by initialisation, width and learning rate.

    Beside it the lowest held-out accuracy of any seed at the training length: an arm that has not learnt says nothing.
    """
    by = ["model.retrieval_init", "model.width", "train.optim.lr"]
    rows = table[(table["phase"] == "test") & (table["length"] == length)]
    learnt = table[table["phase"] == "heldout"].groupby(by)["accuracy"].min().rename("in-domain, lowest")
    return both_ends(rows, by, measure).merge(learnt.reset_index(), on=by)


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
    rows = with_chain_model(table)
    rows = rows[(rows["phase"] == "test") & (rows["length"] == length)]
    found = []
    for name, group in rows.groupby("chain_model", sort=False):
        interval = mean_interval(group["exact"])
        above = (1 + 1 / group["data.num_pairs"].iloc[0]) / 2
        follow = f"{(group['exact'] > above).sum()} of {len(group)}"
        lured = group["lured"].mean()
        found.append({"model": name, "follow": follow, **interval._asdict(), "other value": lured})
    return pd.DataFrame(found).rename(columns={"estimate": "exact"})
