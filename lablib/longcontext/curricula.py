"""Summaries of the curricula of notebook 02: table -> numbers, with intervals over seeds."""

import pandas as pd

from lablib.core import tables
from lablib.core.stats import Interval, mean_interval, paired_difference

MEASURED_NEAR = ("local_loss", "accuracy", "accuracy_reasoning", "window_alone", "hsa_alone")
MEASURED_FAR = ("exact", "exact_reasoning", "chunk_recall")


def outcomes(table: pd.DataFrame, length: int, near: int | None = None) -> pd.DataFrame:
    """A row an arm: what it measures at a length, and on held-out rows of `near` tokens (its longest training rows).

    Where an arm was asked with several top-k, the smallest counts. A diverged arm answers nothing.
    """
    own = [name for name in ("recipe", "seed", "curriculum.optim.lr", "cpu_seconds", "store") if name in table]
    arms = table.groupby("arm", sort=False)[[*own, "diverged", "train_answers"]].first()
    held = table[(table["phase"] == "heldout") & ((table["length"] == near) | (near is None))]
    held = held.sort_values("length").groupby("arm").last()
    far = table[(table["phase"] == "test") & (table["length"] == length)]
    far = far.sort_values("asked_top_k").groupby("arm").first()
    for source, names in ((held, MEASURED_NEAR), (far, MEASURED_FAR)):
        arms = arms.join(source[[name for name in names if name in source]].dropna(axis=1, how="all"))
    arms["exact"] = arms["exact"].where(arms["diverged"] == 0, 0.0)
    return arms.reset_index()


def asked_length(table: pd.DataFrame, length: int) -> int:
    """The length, or the longest that the arms of the table were asked at, where they were not asked at it."""
    tested = table.loc[table["phase"] == "test", "length"]
    return length if (tested == length).any() else int(tested.max())


def by_recipe(
    table: pd.DataFrame, length: int, by: tuple[str, ...] = ("recipe",), near: int | None = None
) -> pd.DataFrame:
    """Means over seeds of `outcomes`, with the interval of recall at the length, in the order of the table."""
    arms = outcomes(table, length, near)
    shown = [name for name in (*MEASURED_NEAR, "exact_reasoning", "chunk_recall") if name in arms]
    others = arms.groupby(list(by))[[*shown, "cpu_seconds"]].agg(dict.fromkeys(shown, "mean") | {"cpu_seconds": "max"})
    others = others.rename(columns={"cpu_seconds": "CPU-s an arm (most)"}).reset_index()
    return tables.means(arms, "exact", by).merge(others, on=list(by))


def against(
    table: pd.DataFrame, measure: str, length: int, first: str, second: str, near: int | None = None
) -> Interval:
    """The recipe `second` less `first`, paired by seed: the mean difference of a measure with its interval.

    Raises ValueError for a recipe that is not there, and where one has several arms a seed (such as several rates).
    """
    return tables.difference(outcomes(table, length, near), measure, first, second, by="recipe")


def after_transition(table: pd.DataFrame) -> pd.DataFrame:
    """The probes of the last stage, with `since`, the steps since it began (0: the last probe before it).

    Rows with phase "before" are probes of a model that the training began with.
    """
    rows = table[table["phase"].isin(["before", "train"]) & table["global_share"].notna()]
    rows = rows.assign(stage=rows["stage"].fillna(-1)).sort_values("step", kind="stable")
    last = rows.groupby("arm")["stage"].transform("max")
    begins = rows.loc[rows["stage"] == last].groupby("arm")["step"].min()
    before = rows[rows["stage"] < last].groupby("arm")["step"].max()
    origin = rows["arm"].map(before.reindex(begins.index).fillna(0))
    return rows.assign(since=rows["step"] - origin).query("since >= 0")


def decay(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    """By recipe: a measure at the last transition and at the end, and the difference, paired by seed."""

    def ends(group: pd.DataFrame) -> dict:
        pair = group.sort_values("since").groupby("seed")[measure].agg(["first", "last"])
        apart = paired_difference(pair["first"], pair["last"])
        return {"steps": group["since"].max()} | pair.mean().to_dict() | tables.columns(apart, "difference")

    return tables.grouped(after_transition(table), "recipe", ends)


def num_drops(run: pd.DataFrame, measure: str, height: float = 0.2) -> float:
    """Probes at which a recall lies by `height` or more below the best one before; NaN for a run without probes.

    A probe asks the same number of questions in every run. The loss of a batch does not: with few questions in a batch
    a single confident mistake is a spike.
    """
    recalls = run.sort_values("step")[measure].dropna()
    return float((recalls <= recalls.cummax().shift(1) - height).sum()) if len(recalls) else float("nan")


def ways_compared(table: pd.DataFrame, length: int, chosen_at: int, probe: str) -> pd.DataFrame:
    """Generalisation, stability and cost of each way at its best learning rate, and what other rates do to it.

    The best rate has the highest mean recall at the length `chosen_at`, another than the one that is reported.
    `worst rate` is the mean recall at the worst rate; `spread` the standard deviation over seeds at the best one;
    drops of the recall `probe` during training and diverged runs are counted over all rates.
    """
    arms, chosen = outcomes(table, length), outcomes(table, chosen_at).set_index("arm")["exact"]
    train = table[table["phase"] == "train"]
    drops = {arm: num_drops(run, probe) for arm, run in train.groupby("arm")}
    arms = arms.assign(drops=arms["arm"].map(drops), chosen=arms["arm"].map(chosen))

    def way(group: pd.DataFrame) -> dict:
        by_rate = group.groupby("curriculum.optim.lr")
        rate = by_rate["chosen"].mean().idxmax()
        best = group[group["curriculum.optim.lr"] == rate]
        return {
            "best rate": rate,
            **tables.columns(mean_interval(best["exact"]), "exact"),
            "worst rate": by_rate["exact"].mean().min(),
            "spread": best["exact"].std(ddof=1) if len(best) > 1 else 0.0,
            "in-domain": best["accuracy"].mean(),
            "drops a run": group["drops"].mean(),
            "diverged": f"{int(group['diverged'].sum())} of {len(group)}",
            "questions": best["train_answers"].mean(),
            "CPU-s an arm (most)": best["cpu_seconds"].max(),
        }

    return tables.grouped(arms.rename(columns={"recipe": "way"}), "way", way)


def balanced(arms: pd.DataFrame) -> pd.Series:
    """The weaker of retrieval and reasoning, arm by arm: what a balance is for."""
    return arms[["exact", "exact_reasoning"]].min(axis=1, skipna=False)


WARM_UPS = ("short and dense, then wide", "self-copy, then wide")


def both_skills(table: pd.DataFrame, length: int = 16_384) -> str:
    """Which of wide from scratch and both warm-ups answer nine of ten questions and learn the local rule.

    Learnt: the local loss lies nearer to that of the wide window from scratch than to that of the narrow one.
    """
    means = by_recipe(table, length).set_index("recipe")
    level = means.loc[["narrow throughout", "wide from scratch"], "local_loss"].mean()
    good = (means["exact"] >= 0.9) & (means["local_loss"] < level)
    if good["wide from scratch"]:
        return "wide from scratch"
    return ["none", "one of the two warm-ups", "both warm-ups"][int(good[[*WARM_UPS]].sum())]


def by_what_follows(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The arms of `longcontext/steered` in which the window or the mix follows the model, and those of row lengths."""
    one = table["data.num_pairs"] == 1
    return table[table["curriculum.tokens"].notna() & one], table[~one]
