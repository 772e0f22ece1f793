"""Summaries of `longcontext/seesaw` and `longcontext/cost`: table -> numbers, with intervals over seeds."""

import numpy as np
import pandas as pd

from lablib.core import tables
from lablib.core.stats import Interval, rank_correlation

# what makes an arm something else than the plain model: the first that matches names it
VARIANTS: dict[str, dict[str, object]] = {
    "local component, every token": {"objective": "tokens", "data.haystack": "synthetic"},
    "real text, every token": {"objective": "tokens", "data.haystack": "text"},
    "SWA only": {"model.plan": "swa swa"},
    "full attention, RoPE": {"model.plan": "full full"},
    "full attention, NoPE": {"model.plan": "full-nope full-nope"},
    "concatenated softmax": {"model.fusion": "concat"},
    "RoPE on the HSA read": {"model.hsa_rope": True},
    "ordinary initialisation": {"model.retrieval_init": "ordinary"},
    "mean landmark": {"model.landmark": "mean"},
    "stick-breaking fusion": {"model.fusion": "stick-breaking"},
    "no bypass": {"model.bypass": False},
    "2 needles a row": {"data.num_pairs": 2},
    "6 needles a row": {"data.num_pairs": 6},
    "haystack of real text": {"data.haystack": "text"},
}
PLAIN = "SWA + HSA"
RETRIEVES = 0.9  # a seed retrieves if it answers at least this share of its questions


def with_variant(table: pd.DataFrame) -> pd.DataFrame:
    """The table with a column `variant` that names the arm, and `reach`, that of its stacked windows."""
    reach = table["model.plan"].str.count("swa") * (table["model.window"] - 1)
    return tables.with_names(table, VARIANTS, column="variant", otherwise=PLAIN).assign(reach=reach)


def by_length(table: pd.DataFrame, variant: str | None = PLAIN, phase: str = "test") -> pd.DataFrame:
    """The rows measured by length, of one variant or (None) of all."""
    rows = with_variant(table[table["phase"] == phase])
    return rows if variant is None else rows[rows["variant"] == variant]


def recall(table: pd.DataFrame, variant: str | None = PLAIN, measure: str = "exact") -> pd.DataFrame:
    """Mean over seeds by variant, window and length, with its interval and the number of seeds."""
    rows = by_length(table, variant).rename(columns={"model.window": "window"})
    return tables.means(rows, measure, ["variant", "window", "length"], sort=True)


def share_of_seeds(table: pd.DataFrame, length: int) -> pd.DataFrame:
    """By window, the seeds that retrieve at a length (exact recall >= RETRIEVES), with Wilson's interval."""
    rows = by_length(table).query("length == @length").rename(columns={"model.window": "window"})
    return tables.shares(rows, "exact", ["window", "reach"], RETRIEVES, sort=True)


def difference(
    table: pd.DataFrame, measure: str, length: int, narrow: int, wide: int, *, variant: str = PLAIN, phase: str = "test"
) -> Interval:
    """Wide window less narrow, paired by seed: the mean difference of a measure at a length, with its interval."""
    rows = by_length(table, variant, phase).query("length == @length")
    return tables.difference(rows, measure, narrow, wide, by="model.window")


def rank_correlations(table: pd.DataFrame, length: int) -> pd.Series:
    """Spearman's rank correlation of exact recall with the window, by seed (NaN where a seed never varies)."""
    rows = by_length(table)
    wide = rows[rows["length"] == length].pivot(index="seed", columns="model.window", values="exact").dropna()
    return wide.apply(lambda recalls: rank_correlation(wide.columns, recalls), axis=1)


def gradient_mass(table: pd.DataFrame) -> pd.DataFrame:
    """By arm, the gradient norms summed over the logged steps, and the step at which the loss falls below 0.1."""
    rows, arm = by_length(table, phase="train"), ["model.window", "seed"]
    sums = rows.groupby(arm)[["retrieval_grad", "hsa_grad", "other_grad"]].sum()
    learnt = rows[rows["loss"] < 0.1].groupby(arm)["step"].min().astype(float)
    return sums.assign(reach=rows.groupby(arm)["reach"].first(), steps_to_learn=learnt).reset_index()


def by_variant(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each variant and window, for `lablib.core.budget`; first those of the state at 1,024 tokens."""
    rows = with_variant(table).sort_values("length", key=lambda length: length != 1024, kind="stable")
    return {f"{name}, window {window}": arms for (name, window), arms in rows.groupby(["variant", "model.window"])}


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """From `longcontext/cost`, by work: the exponent of time in length, fitted on the longer half of the lengths."""

    def exponent(run: pd.DataFrame) -> dict:
        longer = run[run["length"] >= run["length"].median()]
        run = longer if longer["length"].nunique() > 1 else run
        return {"exponent": np.polyfit(np.log(run["length"]), np.log(run["work_seconds"].clip(lower=1e-9)), 1)[0]}

    return tables.means(tables.grouped(table, ["work", "seed"], exponent), "exponent", "work")


def which_end(shares: pd.DataFrame, narrow: int, wide: int) -> str:
    """Which of both end windows retrieves in most seeds, by `share_of_seeds`."""
    share = shares.set_index("window")["share"]
    found = {(True, True): "both", (True, False): "only the narrow window", (False, True): "only the wide window"}
    return found.get((share[narrow] > 0.5, share[wide] > 0.5), "neither")


def choosing(table: pd.DataFrame, length: int) -> pd.DataFrame:
    """By window: chunks found and the margin of their score at a length, and exact recall there."""
    found = []
    for measure in ("chunk_recall", "margin", "exact"):
        rows = recall(table, measure=measure).query("length == @length")
        found.append(rows.set_index("window")[measure])
    return pd.concat(found, axis=1)


def saved(table: pd.DataFrame) -> str:
    """How many times cheaper the window is at the longest input of full attention, beside the ratio of their pairs;
    and what the whole model took.
    """
    longest = int(table["length"][table["work"] == "full attention"].max())
    times = table[table["length"] == longest].set_index("work")["work_seconds"]
    ratio = times["full attention"] / times["sliding window"]
    window = min(int(table["window"].iloc[0]), longest)
    pairs = longest * (longest + 1) / (2 * longest * window - window * (window - 1))
    said = f"At {longest:,} tokens the window is **{ratio:.1f} times** cheaper than full attention"
    said = f"{said}; it has {pairs:.1f} times fewer pairs."
    whole = table[table["work"].str.startswith("whole model")].sort_values("length")
    if whole.empty:
        return said
    last = whole.iloc[-1]
    return f"{said} The whole model reads {last['length']:,} tokens in {last['work_seconds']:.2f} CPU seconds."


def doublings(exponents: pd.DataFrame, work: str = "full attention") -> int:
    """The nearest whole exponent of `growth`, from 0 to 3."""
    found = exponents.set_index("work")["exponent"][work]
    return int(np.clip(round(found), 0, 3))
