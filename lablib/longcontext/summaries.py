"""From the table of `longcontext/seesaw` to the numbers that are said of it: table -> table, with intervals."""

import numpy as np
import pandas as pd

from lablib.core.stats import Interval, mean_interval, paired_difference, wilson

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
    variant = pd.Series(PLAIN, index=table.index)
    for name, conditions in reversed(VARIANTS.items()):
        holds = pd.Series(True, index=table.index)
        for column, value in conditions.items():
            holds &= table[column] == value
        variant[holds] = name
    layers = table["model.plan"].str.count("swa")
    return table.assign(variant=variant, reach=layers * (table["model.window"] - 1))


def by_length(table: pd.DataFrame, variant: str | None = PLAIN) -> pd.DataFrame:
    """The rows measured by length, of one variant or (None) of all."""
    rows = with_variant(table)
    rows = rows[rows["phase"] == "test"]
    return rows if variant is None else rows[rows["variant"] == variant]


def recall(table: pd.DataFrame, variant: str | None = PLAIN, measure: str = "exact") -> pd.DataFrame:
    """Mean over seeds by variant, window and length, with its bootstrap interval and the number of seeds."""
    rows = by_length(table, variant).dropna(subset=[measure])
    found = []
    for (name, window, length), group in rows.groupby(["variant", "model.window", "length"], sort=True):
        interval = mean_interval(group[measure])
        found.append({"variant": name, "window": window, "length": length, "seeds": len(group), **interval._asdict()})
    return pd.DataFrame(found).rename(columns={"estimate": measure})


def share_of_seeds(table: pd.DataFrame, length: int, variant: str = PLAIN) -> pd.DataFrame:
    """By window, the seeds that retrieve at a length (exact recall >= RETRIEVES), with Wilson's interval."""
    rows = by_length(table, variant)
    found = []
    for window, group in rows[rows["length"] == length].groupby("model.window"):
        good = int((group["exact"] >= RETRIEVES).sum())
        found.append(
            {
                "window": window,
                "reach": int(group["reach"].iloc[0]),
                "retrieve": f"{good} of {len(group)}",
                **wilson(good, len(group))._asdict(),
            }
        )
    return pd.DataFrame(found).rename(columns={"estimate": "share"})


def difference(
    table: pd.DataFrame, measure: str, length: int, narrow: int, wide: int, *, variant: str = PLAIN, phase: str = "test"
) -> Interval:
    """Wide window less narrow, paired by seed: the mean difference of a measure at a length, with its interval."""
    rows = with_variant(table)
    rows = rows[(rows["phase"] == phase) & (rows["variant"] == variant) & (rows["length"] == length)]
    pairs = rows.pivot(index="seed", columns="model.window", values=measure)[[narrow, wide]].dropna()
    return paired_difference(pairs[narrow], pairs[wide])


def rank_correlation(table: pd.DataFrame, length: int, measure: str = "exact") -> pd.DataFrame:
    """Spearman's rank correlation of a measure with the window, seed by seed (NaN where a seed never varies)."""
    rows = by_length(table)
    wide = rows[rows["length"] == length].pivot(index="seed", columns="model.window", values=measure).dropna()
    ranks, order = wide.rank(axis=1), pd.Series(wide.columns, index=wide.columns).rank()
    with np.errstate(invalid="ignore"):
        return pd.DataFrame({"seed": wide.index, "rank_correlation": ranks.T.corrwith(order).to_numpy()})


def in_domain(table: pd.DataFrame, variant: str) -> pd.DataFrame:
    """Held-out loss at the training length by window, a row a seed."""
    rows = with_variant(table)
    return rows[(rows["phase"] == "heldout") & (rows["variant"] == variant)]


def gradient_mass(table: pd.DataFrame, variant: str = PLAIN) -> pd.DataFrame:
    """By arm, the gradient norms summed over the logged steps, and the step at which the loss falls below 0.1."""
    rows = with_variant(table)
    rows = rows[(rows["phase"] == "train") & (rows["variant"] == variant)]
    found = []
    for (window, seed), run in rows.sort_values("step").groupby(["model.window", "seed"]):
        learnt = run.loc[run["loss"] < 0.1, "step"]
        found.append(
            {
                "model.window": window,
                "seed": seed,
                "reach": int(run["reach"].iloc[0]),
                "retrieval_grad": run["retrieval_grad"].sum(),
                "hsa_grad": run["hsa_grad"].sum(),
                "other_grad": run["other_grad"].sum(),
                "steps_to_learn": float(learnt.min()) if len(learnt) else float("nan"),
            }
        )
    return pd.DataFrame(found)


def budget(table: pd.DataFrame) -> pd.DataFrame:
    """What each arm cost, by variant and window: seeds, parameters, tokens, FLOPs, state, CPU seconds."""
    rows = with_variant(table)
    state = rows[rows["length"] == 1024].groupby(["variant", "model.window"])["state_bytes"].max()
    arms = rows.drop_duplicates("arm").groupby(["variant", "model.window"])
    return pd.DataFrame(
        {
            "seeds": arms["seed"].nunique(),
            "parameters": arms["parameters"].first().astype(int),
            "training tokens": arms["train_tokens"].first().astype(int),
            "training GFLOP": (arms["train_flops"].first() / 1e9).round(1),
            "state at 1K (KiB)": (state / 1024).round(0),
            "CPU-s an arm (most)": arms["cpu_seconds"].max().round(0),
        }
    ).reset_index()


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """From `longcontext/cost`, by work: the exponent of time in length, fitted on the longer half of the lengths."""
    found = []
    for work, rows in table.groupby("work"):
        longer = rows[rows["length"] >= rows["length"].median()]
        rows = longer if longer["length"].nunique() > 1 else rows
        exponents = [
            np.polyfit(np.log(run["length"]), np.log(run["work_seconds"].clip(lower=1e-9)), 1)[0]
            for _, run in rows.groupby("seed")
        ]
        found.append({"work": work, **mean_interval(exponents)._asdict()})
    return pd.DataFrame(found).rename(columns={"estimate": "exponent", "seeds": "repetitions"})
