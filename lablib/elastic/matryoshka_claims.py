"""What is said of embeddings that may be cut: numbers of the tables, and claims on them."""

from collections.abc import Callable, Iterator

import pandas as pd

from lablib.core.claims import Check, Claim, above, below, includes_zero, within
from lablib.core.stats import Interval, mean_interval
from lablib.core.tables import apart

CUT, PCA, WHOLE = "plain, cut", "plain, PCA", 64
BEST = "plain, for the whole"
SHORTLIST = "16/200, 64/1"
Checks = Callable[[pd.DataFrame], Iterator[Check]]


def series(table: pd.DataFrame) -> pd.DataFrame:
    """What is reported, with a `series` each: a way to train, and a plain model that is cut, or cut after PCA."""
    plain = table["name"].str.startswith("plain")
    named = table["name"].mask(plain, table["name"] + ", " + table["how"])
    return table.assign(series=named)[(table["first_seed"] == 0) & ((table["how"] == "cut") | plain)]


def at(table: pd.DataFrame, name: str, m: int, column: str = "right") -> pd.Series:
    """A measure of a series with m numbers, by seed."""
    rows = series(table)
    rows = rows[(rows["phase"] == "scan") & (rows["series"] == name) & (rows["dims"] == m)]
    return rows.set_index("seed")[column].sort_index()


def searched(table: pd.DataFrame, name: str, stages: str) -> pd.Series:
    """Recall of a series by stages, such as "16/200, 64/1", by seed."""
    rows = series(table)
    return rows[(rows["series"] == name) & (rows["stages"] == stages)].set_index("seed")["right"].sort_index()


def less(table: pd.DataFrame, name: str, other: str, m: int, column: str = "right") -> Interval:
    """A series less another with m numbers, paired by seed."""
    return apart(at(table, other, m, column), at(table, name, m, column))


def best_rates(table: pd.DataFrame, how: str = "cut") -> pd.Series:
    """By way to train, the learning rate with the highest recall, averaged over numbers kept, seeds of the tuning."""
    rows = table[(table["first_seed"] > 0) & (table["phase"] == "scan") & (table["how"] == how)]
    means = rows.groupby(["name", "train.optim.lr"])["right"].mean()
    return means.groupby("name").idxmax().map(lambda place: place[1])


def _pairs(name: str, *parts: tuple[str, Callable, tuple[int, ...]], column: str = "right") -> Checks:
    """Checks of a series less others by numbers kept: `("plain, cut", above, (4, 8))`."""

    def checks(table: pd.DataFrame) -> Iterator[Check]:
        for other, check, dims in parts:
            for m in dims:
                yield check(f"{name} minus {other}, {m}:", less(table, name, other, m, column), spec=".3f")

    return checks


# ---- classes


def _groups(table: pd.DataFrame) -> Iterator[Check]:
    for column, check, level in (("right_group", above, 0.95), ("right", below, 0.85)):
        yield check(column.replace("_", " "), mean_interval(at(table, "MRL", 4, column)), level)
    yield below("right group, plain, cut", mean_interval(at(table, CUT, 4, "right_group")), 0.5)


CLASSES = (
    Claim("Classes: do prefixes of MRL beat a plain model that is cut?", "yes, from 4 to 16 dimensions",
          _pairs("MRL", (CUT, above, (4, 8, 16)))),
    Claim("Is a model of each size better than a prefix of MRL?", "with 2 dimensions; from 4 on it is not shown",
          _pairs("MRL", ("independent", below, (2,)), ("independent", includes_zero, (4, 8, 16, 32)))),
    Claim("Does PCA of a plain model beat MRL from 16 dimensions on?", "no, MRL is better",
          _pairs("MRL", (PCA, above, (16, 32)), (f"{BEST}, PCA", above, (16, 32))),
          "the plain model at two learning rates"),
    Claim("Is one head for all prefixes (MRL-E) as good?", "no, worse with 4 and 8 dimensions",
          _pairs("MRL-E", ("MRL", below, (4, 8)))),
    Claim("Does the full width pay for the prefixes?", "no", _pairs("MRL", (f"{BEST}, cut", above, (64,))),
          "1-NN; the plain model at its best rate for the whole"),
    Claim("What do 4 dimensions know?", "the group before the class", _groups),
)  # fmt: skip


# ---- retrieval


def _pca(table: pd.DataFrame) -> Iterator[Check]:
    for m in (8, 16):
        yield within(f"MRL minus {PCA}, {m}:", less(table, "MRL", PCA, m), -0.02, 0.02, spec=".3f")
    yield from _pairs("MRL", (PCA, below, (24, 32, 48)))(table)


def _tax(table: pd.DataFrame) -> Iterator[Check]:
    yield below("MRL minus the plain model:", less(table, "MRL", CUT, WHOLE), spec=".3f")
    yield above("more weight minus equal weights:", less(table, "MRL, more weight", "MRL", WHOLE), spec=".3f")
    yield below("more weight minus the plain model:", less(table, "MRL, more weight", CUT, WHOLE), spec=".3f")


def _longer(table: pd.DataFrame) -> Iterator[Check]:
    tax = [at(table, plain, WHOLE) - at(table, name, WHOLE)
           for plain, name in ((CUT, "MRL"), ("plain, longer, cut", "MRL, longer"))]  # fmt: skip
    yield below("price at twice the steps minus before:", apart(*tax), spec=".3f")


def _between(table: pd.DataFrame) -> Iterator[Check]:
    for low, m, high in ((8, 12, 16), (16, 24, 32)):
        yield above(f"recall with {m} minus {low}:", apart(at(table, "MRL", low), at(table, "MRL", m)))
        yield below(f"{m} minus {high}:", apart(at(table, "MRL", high), at(table, "MRL", m)))


def _order(table: pd.DataFrame) -> Iterator[Check]:
    for m in (8, 16):
        wrong = apart(at(table, "MRL", m), at(table, "MRL", m, "right_wrong_order"))
        yield below(f"normalised first minus cut first, {m}:", wrong, spec=".3f")


def _shortlist(table: pd.DataFrame) -> Iterator[Check]:
    for name in ("MRL", PCA):
        lost = apart(at(table, name, WHOLE), searched(table, name, SHORTLIST))
        yield within(f"{name} minus its whole scan:", lost, -0.01, 0.01, spec=".3f")
    rows = series(table)
    share = rows.loc[rows["stages"] == SHORTLIST, "share"].max()
    yield Check(share < 0.35, f"at {share:.2f} of the FLOPs", int(rows["seed"].nunique()))


def _funnel(table: pd.DataFrame) -> Iterator[Check]:
    less = apart(searched(table, "MRL", "8/200, 64/1"), searched(table, "MRL", "8/200, 16/50, 64/1"))
    yield within("minus the shortlist of 200:", less, -0.01, 0.01, spec=".3f")
    rows = series(table).groupby("stages")["flops"].max()
    share = rows["8/200, 16/50, 64/1"] / rows["8/200, 64/1"]
    yield Check(share < 0.9, f"at {share:.2f} of its FLOPs", less.seeds)


RETRIEVAL = (
    Claim("Retrieval: do prefixes of MRL beat a plain model that is cut?", "yes, with 8 and 16 dimensions",
          _pairs("MRL", (CUT, above, (8, 16)))),
    Claim("And the plain model after PCA?", "not by 0.02 with 8 and 16 dimensions; beyond, PCA is better", _pca),
    Claim("Does the full width pay for the prefixes?", "yes; with more weight on it less", _tax),
    Claim("Is the price lower after twice the steps?", "yes, a little", _longer, "both models are trained longer"),
    Claim("Do dimensions between the trained prefixes serve?", "yes, they lie between", _between),
    Claim("May an embedding be normalised first and cut then?", "no, right neighbours are lost", _order),
    Claim("What does a shortlist by 16 dimensions lose?", "less than 0.01, by MRL and by PCA", _shortlist,
          "200 of 4,000 documents, ranked again by all 64"),
    Claim("Does a funnel of three stages save on that?", "a little, and it loses nothing", _funnel,
          "from 8 dimensions"),
)  # fmt: skip
