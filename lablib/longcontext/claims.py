"""The claims of notebook 01: the seesaw, and the checks that doubt it. Each is a question, its answer, its checks."""

import functools
from collections.abc import Iterator

import pandas as pd

from lablib.core import tables
from lablib.core.claims import Check, Claim, above, below, includes_zero
from lablib.longcontext import robustness, summaries

NARROW, WIDE, FAR, CHANCE = 8, 64, 65_536, 1 / 16
ENDS = (f"window {NARROW}", f"window {WIDE}")
_apart = functools.partial(summaries.difference, narrow=NARROW, wide=WIDE)  # (table, measure, length)


def _at(table: pd.DataFrame, window: int, length: int, measure: str = "exact") -> pd.Series:
    """The mean over seeds of a measure at one window and length, with its interval."""
    rows = summaries.recall(table, measure=measure)
    return rows[(rows["window"] == window) & (rows["length"] == length)].iloc[0]


def _near(table: pd.DataFrame) -> Iterator[Check]:
    for window in (NARROW, WIDE):
        row = _at(table, window, 64)
        yield Check(row["exact"] > 0.99, "", row["seeds"])
    yield above("wide less narrow", _apart(table, "exact", 64), -0.01)


def _far(table: pd.DataFrame) -> Iterator[Check]:
    narrow, wide = (_at(table, window, FAR) for window in (NARROW, WIDE))
    yield Check(narrow["exact"] > 0.99, f"{wide['exact']:.2f} against {narrow['exact']:.2f}", narrow["seeds"])
    yield below("difference", _apart(table, "exact", FAR))


def _trend(table: pd.DataFrame) -> Iterator[Check]:
    ranks, shares = summaries.rank_correlations(table, FAR), summaries.share_of_seeds(table, FAR)
    yield Check(ranks.max() < 0, f"rank correlation {ranks.min():.2f} to {ranks.max():.2f}", len(ranks))
    counts = ", ".join(f"{window}: {count}" for window, count in zip(shares["window"], shares["count"], strict=True))
    yield Check(shares["share"].is_monotonic_decreasing, f"seeds that retrieve, {counts}", int(shares["seeds"].min()))


def _chosen(table: pd.DataFrame) -> Iterator[Check]:
    row = _at(table, WIDE, FAR, "chunk_recall")
    yield Check(row["chunk_recall"] > 0.9, f"chunk recall {row['chunk_recall']:.2f}", row["seeds"])
    yield below("margin, wide less narrow", _apart(table, "margin", FAR), spec=".1f")


def _gradient(table: pd.DataFrame) -> Iterator[Check]:
    mass = summaries.gradient_mass(table)
    means = mass.groupby("model.window")["hsa_grad"].mean()
    apart = tables.difference(mass, "hsa_grad", NARROW, WIDE, by="model.window")
    yield below(f"{means[WIDE]:.1f} against {means[NARROW]:.1f}; difference", apart, spec=".1f")


def _controls(table: pd.DataFrame) -> Iterator[Check]:
    last = summaries.recall(table, None).query("length in (4096, @FAR)").groupby(["variant", "window"]).last()
    for name in ("SWA only", "full attention, RoPE"):
        rows = last.loc[name]
        said = f"{name} {rows['exact'].max():.2f} at {rows['length'].max():,}"
        yield Check((abs(rows["exact"] - CHANCE) < 0.03).all(), said, int(rows["seeds"].min()))
    concat, nope = (last.loc[name].iloc[0] for name in ("concatenated softmax", "full attention, NoPE"))
    yield Check(concat["exact"] < 0.5, f"concatenated softmax {concat['exact']:.2f}", int(concat["seeds"]))
    said = f"full attention, NoPE {nope['exact']:.2f} at {nope['length']:,.0f}"
    yield Check(nope["exact"] > 0.7 and nope["length"] == 4096, said, int(nope["seeds"]))


def _ablations(table: pd.DataFrame) -> Iterator[Check]:
    rows = summaries.by_length(table, None).query("length == 16_384 and variant != 'SWA only'")
    both = rows.groupby("variant")["model.window"].agg(set).map({NARROW, WIDE}.issubset)
    rows = rows[rows["variant"].map(both) & rows["model.window"].isin([NARROW, WIDE])]
    ends = robustness.both_ends(rows, ["variant"])
    least, most = ends["wide less narrow"].agg(["max", "min"])
    changes = (ends["variant"] != summaries.PLAIN).sum()
    said = f"as it is and with {changes} changes: wide less narrow {most:.2f} to {least:.2f} at 16K"
    yield Check(changes == 7 and len(ends) == 8 and least < -0.2, said, int(ends["seeds"].min()))


TOKENS = {"phase": "heldout", "variant": "local component, every token"}
TEXT = {"phase": "heldout", "variant": "real text, every token"}
SEESAW = (
    Claim("Do both windows answer at 64 tokens, the training length?", "yes", _near),
    Claim("Does the wide window retrieve at 64K tokens?", "no", _far, "one needle a row"),
    Claim("Does the narrow window answer at a million tokens?", "yes",
          lambda t: [above("", tables.interval(_at(t, NARROW, 1 << 20), "exact"), 0.99, ".3f")]),
    Claim("Does recall fall from window to window?", "yes", _trend, "56 and 64 hardly differ"),
    Claim("Does the wide model at least choose the right chunk?", "mostly, by a smaller margin", _chosen),
    Claim("Is the summed gradient norm of HSA smaller with the wide window?", "yes; what follows from it is open",
          _gradient, "AdamW rescales each step, and no run changed the gradient"),
    Claim("Has the wide window the lower loss where a rule lies 24 tokens back?", "yes",
          lambda t: [below("wide less narrow (nats)", _apart(t, "loss", 64, **TOKENS), spec=".3f")]),
    Claim("And on real text, in rows of 64 bytes?", "no, the narrow one",
          lambda t: [above("wide less narrow (nats)", _apart(t, "loss", 64, **TEXT), spec=".3f")]),
    Claim("Does anything but HSA answer far beyond the training length?", "mostly NoPE attention, to 4,096",
          _controls, "chance is 0.06; attention was not asked beyond 4,096 tokens"),
    Claim("Does the ranking survive each change of the model or the rows?", "yes, in the mean", _ablations),
)  # fmt: skip


# ---- robustness 1: the race


def _first(table: pd.DataFrame) -> Iterator[Check]:
    steps = robustness.steps_to_criterion(table)
    narrow, wide = (steps.loc[steps["group"] == name, "steps"].mean() for name in ENDS)
    apart = tables.difference(steps, "steps", *ENDS, by="group")
    yield below(f"step {wide:.0f} against {narrow:.0f}; difference", apart, spec=".0f")


def _circuit(table: pd.DataFrame) -> Iterator[Check]:
    found = robustness.circuits(table)
    for group, circuit in zip(ENDS, ("HSA", "windows"), strict=True):
        right = found.loc[found["group"] == group, "circuit"] == circuit
        seeds = len(right) // 2
        yield Check(right.all(), f"{group}: {circuit} in {right.sum() // 2} of {seeds} seeds", seeds)


def _cut(table: pd.DataFrame) -> Iterator[Check]:
    group = f"{ENDS[1]}, then {NARROW}"
    far = robustness.circuits(table).query("group == @group").groupby("part")["far"]
    said = f"recall at 4K {far.mean()[1]:.2f} to {far.mean()[2]:.2f}"
    yield Check(far.min()[2] > 0.99, said, int(far.size().min()))
    yield above("gain", robustness.gained(table, group))


RACE = (
    Claim("Which model learns the task first?", "the wide one", _first),
    Claim("Which part answers at 64 tokens?", "HSA in the narrow model, the windows in the wide one", _circuit),
    Claim("Does twice as much further training help the wide model?", "no",
          lambda t: [below("recall at 4K", robustness.gained(t, ENDS[1]), 0.05)]),
    Claim("Can the weights of the wide model still learn to retrieve?", "yes, with windows cut to 8", _cut),
)  # fmt: skip


# ---- robustness 2 and 3: tuning, harder haystacks


def _tuning(table: pd.DataFrame) -> Iterator[Check]:
    ends = robustness.tuned_ends(table, 16_384)
    apart, below_zero = ends["wide less narrow"], (ends["high"] < 0).sum()
    said = f"wide less narrow below 0 in {below_zero} of {len(ends)} settings, {apart.min():.2f} to {apart.max():.2f}"
    yield Check(below_zero == len(ends) == 7, said, int(ends["seeds"].min()))
    yield Check(ends["in-domain, lowest"].min() > 0.99, "", int(ends["seeds"].min()))


def _ends(table: pd.DataFrame, trained_on: str, bounds: dict[str, tuple], window: str = ENDS[0]) -> Iterator[Check]:
    """Checks that the narrow (or other) model, after these rows, answers within bounds under each condition."""
    rows = robustness.harder_ends(table, FAR).set_index(["trained_on", "condition"]).loc[trained_on]
    for name, (low, high) in bounds.items():
        row = rows.loc[name]
        yield Check(low <= row[window] <= high, f"{name} {row[window]:.2f}", int(row["seeds"]))


def _forms(table: pd.DataFrame) -> Iterator[Check]:
    """What another form of the needle costs the narrow model at 64K, and either window in its worst run."""
    yield from _ends(table, "one needle", dict.fromkeys(FORMS, (0.98, 1)))
    rows = robustness.with_training(table)
    six = rows.query("trained_on == 'six needles' and length == @FAR and `model.window` == @NARROW")
    for name in FORMS:
        lost = tables.difference(six, "exact", "one needle", name, by="condition")
        yield includes_zero(f"after six needles, {name}", lost)
        yield Check(lost.estimate < -0.05, "", lost.seeds)
    run = ["trained_on", "model.window", "seed", "length"]
    found = rows.pivot_table(index=run, columns="condition", values="exact")
    worst = (found["one needle"] - found[[*FORMS]].min(axis=1)).groupby("trained_on").max()
    one, many = worst["one needle"], worst["six needles"]
    yield Check(one < 0.05 < 0.25 < many, f"at most lost in a run {one:.2f} and {many:.2f}", rows["seed"].nunique())


def _every_kind(table: pd.DataFrame) -> Iterator[Check]:
    ends = robustness.harder_ends(table, FAR)
    shown, six = ends["high"] < 0, ends["trained_on"] == "six needles"
    said = f"whole interval below 0 in {shown.sum()} of {len(ends)} rows; after six needles in {shown[six].sum()} of "
    yield Check(shown[ends["condition"] == "one needle"].sum() == 3, said + f"{six.sum()}", int(ends["seeds"].min()))
    yield Check(shown.sum() == 13 and shown[six].sum() == 1, "", int(ends["seeds"].min()))


FORMS = ("no marker", "a gap in the needle")
TUNING = (
    Claim("Was the wide model badly tuned?", "not within a factor of four", _tuning, "recall at 16K"),
)  # fmt: skip
HARDER = (
    Claim("Does a model trained on one needle a row find the one that is asked for?", "no, it finds a needle",
          lambda t: _ends(t, "one needle", {"one needle": (0.99, 1), "one distractor": (0.4, 0.6),
                                            "growing distractors": (0, 0.1)})),
    Claim("Does one trained on six needles match keys?", "yes",
          lambda t: _ends(t, "six needles", {"growing distractors": (0.85, 1)})),
    Claim("Does another form of the needle cost recall?", "not after one needle a row; after six open", _forms,
          "after six a tenth in the mean, a third in the worst run"),
    Claim("Does the wide window retrieve less after every kind of rows?", "after three kinds of four", _every_kind),
    Claim("Does the wide window retrieve anything from real text?", "no, it is near chance (0.06)",
          lambda t: _ends(t, "one needle in real text", {"one needle": (0, 0.15)}, ENDS[1])),
)  # fmt: skip


# ---- a placement for each question


def _placed(table: pd.DataFrame) -> Iterator[Check]:
    rows = robustness.with_training(table)
    for name in ("one needle", "six needles"):
        found = rows[(rows["trained_on"] == name) & (rows["length"] == FAR)]
        apart = tables.difference(found, "exact", NARROW, WIDE, by="model.window")
        yield below(f"{name}, wide less narrow", apart)


def _parted(table: pd.DataFrame) -> Iterator[Check]:
    rows = robustness.by_needle(table).query("length == @FAR and `model.window` == @NARROW")
    for name, check in (("one needle", includes_zero), ("six needles", below)):
        found = rows[rows["trained_on"] == name]
        yield check(f"{name}, parted less whole", tables.difference(found, "exact", "whole", "parted", by="needle"))


PLACEMENTS = (
    Claim("Does the wide window retrieve less when each question has a placement of its own?", "yes", _placed,
          "recall at 64K, 200 placements a seed"),
    Claim("Are needles missed that a chunk border parts?", "after six needles a row, not after one", _parted,
          "window 8"),
)  # fmt: skip


# ---- doubt 4: two look-ups


def _chains(table: pd.DataFrame) -> Iterator[Check]:
    found = robustness.chain_recall(table, FAR).set_index("model")
    one, two = (tables.interval(found.loc[name], "exact") for name in ("one group", "two groups"))
    yield below("one group", one, 0.6)
    yield above("two groups", two, one.high)
    follow = found.loc["two groups", "follow"]
    yield Check(follow == "4 of 5", f"two groups follow in {follow} seeds", two.seeds)


def _needs(table: pd.DataFrame) -> Iterator[Check]:
    found = robustness.chain_recall(table, FAR).set_index("model")
    for name, expected in (("reads start ordinary", "0 of 3"), ("no restated rows", "2 of 3")):
        row = found.loc[f"two groups, {name}"]
        yield Check(row["follow"] == expected, f"{name}: {row['follow']} seeds follow", int(row["seeds"]))


CHAINS = (
    Claim("Do two groups of HSA layers follow a chain, and one not?", "yes, in most seeds", _chains),
    Claim("What do chains need?", "reads that start as the identity; restated rows less", _needs),
)
