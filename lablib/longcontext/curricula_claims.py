"""The claims of notebook 02: warm-ups, lengths, fine-tuning, steered curricula, needles in long inputs."""

from collections.abc import Iterator
from numbers import Real

import pandas as pd

from lablib.core import tables
from lablib.core.claims import Check, Claim, above, below, includes_zero, within
from lablib.core.stats import Interval, rank_correlation
from lablib.longcontext import curricula, recall

FAR, MILLION, SIXTEEN = 16_384, 1 << 20, 1 << 24
NARROW, SCRATCH, WARM = "narrow throughout", "wide from scratch", "short and dense, then wide"
COPY, SLOWLY, ANEW = "self-copy, then wide", "short and dense, then slowly wide", f"{WARM} with a new schedule"
LONG_ROWS, FOLLOWS = f"{WARM} with a third of long rows", "window widens while retrieval holds"
BY_NEED = "lengths by need"


def _recall(table: pd.DataFrame, first: str, second: str, measure: str = "exact") -> Interval:
    return curricula.against(table, measure, FAR, first, second)


def _less(table: pd.DataFrame, first: str, second: str, recall: tuple, loss: tuple) -> Iterator[Check]:
    """Checks the recipe `second` less `first`: recall at 16K and local loss, each by a check and its level."""
    yield recall[0]("recall", _recall(table, first, second), *recall[1:])
    yield loss[0]("local loss", _recall(table, first, second, "local_loss"), *loss[1:], spec=".3f")


def _rescued(table: pd.DataFrame) -> Iterator[Check]:
    paid, gained = (_recall(table, *pair, "local_loss") for pair in ((SCRATCH, WARM), (NARROW, SCRATCH)))
    yield above("recall", _recall(table, SCRATCH, WARM))
    said = f"local loss {paid:.3f} of {-gained.estimate:.3f}"
    yield Check(0 < paid.estimate < -0.12 * gained.estimate, said, paid.seeds)


WARM_UP = (
    Claim("Does the seesaw have two sides?", "yes",
          lambda t: _less(t, NARROW, SCRATCH, (below, -0.5), (below, -0.45)), "wide from scratch less narrow"),
    Claim("Does a short and dense start rescue the wide window?", "yes, for a tenth of the local gain", _rescued,
          "less wide from scratch"),
    Claim("Does self-copy do as well?", "in recall; it does not learn the local rule",
          lambda t: _less(t, WARM, COPY, (includes_zero,), (above, 0.3)), "less the short and dense start"),
    Claim("Does a slow transition cost anything?", "a little local loss",
          lambda t: _less(t, WARM, SLOWLY, (above, -0.03), (above,)), "less the transition at once"),
    Claim("Does a new schedule at the transition undo the warm-up?", "open: the interval of recall includes 0",
          lambda t: _less(t, WARM, ANEW, (includes_zero,), (below,)), "less the transition within one schedule"),
)  # fmt: skip


SCRATCH_LONG = f"{SCRATCH}, a third in long rows"


def _coverage(table: pd.DataFrame) -> Iterator[Check]:
    yield above("recall, minus wide from scratch", _recall(table, SCRATCH, SCRATCH_LONG), 0.4)
    yield includes_zero("minus short and dense, then wide", _recall(table, WARM, SCRATCH_LONG))


def _price(table: pd.DataFrame) -> Iterator[Check]:
    for name, check in ((SCRATCH, above), (WARM, includes_zero)):
        found = curricula.against(table, "local_loss", FAR, name, SCRATCH_LONG, near=64)
        yield check(f"local loss at 64 tokens, minus {name}", found, spec=".3f")


COVERAGE = (
    Claim("Do rows longer than the window cure the wide window from scratch?", "yes, as the warm-up does", _coverage,
          "a third of the tokens in rows of 256"),
    Claim("At which price?", "a little local loss, as the warm-up", _price),
)  # fmt: skip


# ---- the second phase, the grid, lengths, ingredients


def _decay(table: pd.DataFrame, measure: str, bounds: dict[str, tuple[Real, Real]]) -> Iterator[Check]:
    """Checks that each recipe's change of a measure, from the transition to the end, lies within bounds."""
    lost = curricula.decay(table, measure).set_index("recipe")
    for name, (low, high) in bounds.items():
        yield within(name, tables.interval(lost.loc[name], "difference"), low, high)


def _copy_fades(table: pd.DataFrame) -> Iterator[Check]:
    """Self-copy has little recall at the transition: what is lost is counted from the first probe after it."""
    rows = curricula.after_transition(table).query("recipe == @COPY")
    _, first, *_, last = sorted(rows["since"].unique())
    means = rows.groupby("since")["recall_4096"].mean()
    said = f"{means[0]:.2f} at the transition, {means[first]:.2f} {first:.0f} steps later, {means[last]:.2f} in the end"
    lost = tables.difference(rows, "recall_4096", first, last, by="since")
    yield Check(means[0] < 0.5 < 0.9 < means[first], said, lost.seeds)
    yield below("lost since", lost, -0.5)


def _long_rows(table: pd.DataFrame) -> Iterator[Check]:
    yield from _decay(table, "recall_4096", {LONG_ROWS: (-0.06, 0.06)})
    loss = tables.difference(curricula.outcomes(table, FAR, near=64), "local_loss", WARM, LONG_ROWS, by="recipe")
    yield within("local loss", loss, -0.01, 0.01, ".3f")


def _grid(table: pd.DataFrame) -> Iterator[Check]:
    grid = curricula.by_recipe(table, FAR).set_index("recipe")
    bounds = {("10%", "dense"): (0, 0.5, 0, 2.3), ("60%", "dense"): (0.99, 1, 2.7, 3), ("40%", "4"): (0.95, 1, 0, 2.35)}
    for (share, top_k), (low, high, least, most) in bounds.items():
        row = grid.loc[f"{share} of the steps with window 8, top-k {top_k}"]
        holds = low <= row["exact"] <= high and least < row["local_loss"] < most
        yield Check(holds, f"{row.name}: recall {row['exact']:.2f}, local loss {row['local_loss']:.2f}", row["seeds"])


def _lengths(table: pd.DataFrame) -> Iterator[Check]:
    by = ["recipe", "curriculum.optim.lr"]
    means = curricula.by_recipe(table, 65_536, tuple(by)).set_index(by)
    long = means.loc["long from the beginning"]
    for way in ("short throughout", "curriculum"):
        lower = (long["high"] < means.loc[way, "low"].reindex(long.index)).all()
        yield Check(lower, f"{way} {means.loc[way, 'exact'].max():.2f}", int(means["seeds"].min()))
    yield Check(len(long) == 4, f"long from the beginning {long['exact'].max():.2f}", int(long["seeds"].min()))


def _ingredients(table: pd.DataFrame) -> Iterator[Check]:
    recalls = curricula.outcomes(table, FAR).groupby("recipe")["exact"]
    low, seeds = recalls.min(), int(recalls.size().min())
    dense, near, plain = (low[n] for n in ("dense top-k", "needles near their question", "sparse, needles anywhere"))
    said = f"lowest seed: sparse, anywhere {plain:.2f}, near {near:.2f}, dense {dense:.2f}"
    yield Check(dense < 0.3 < 0.6 < near < plain, said, seeds)
    mean, encoded = (low[f"two-token keys, {landmarks} landmarks"] for landmarks in ("mean", "encoded"))
    yield Check(mean > encoded > 0.9, f"two-token keys {mean:.2f} (mean), {encoded:.2f} (encoded)", seeds)


AFTERMATH = (
    Claim("Does a long second phase undo the short and dense start?", "yes",
          lambda t: _decay(t, "recall_4096", {WARM: (-1, -0.5)}), "recall at 4K"),
    Claim("And self-copy?", "yes, after a rise", _copy_fades, "recall at 4K"),
    Claim("Does a third of long rows keep it, at the same local loss?", "yes", _long_rows, "recall at 4K"),
)  # fmt: skip
GRID = (
    Claim(
        "How long must the warm-up be?", "of 10, 20, 40, 60 % only 40 % gives both skills; it need not be dense", _grid
    ),
)
LENGTHS = (
    Claim("Do long rows from the beginning teach less than short ones, at each of four rates?", "yes", _lengths,
          "recall at 64K at the best rate"),
)  # fmt: skip
CHANGES = "What do near needles, dense top-k, mean landmarks change?"
INGREDIENTS = (Claim(CHANGES, "how many seeds learn", _ingredients),)


# ---- fine-tuning


def _short_rows_near(table: pd.DataFrame) -> Iterator[Check]:
    near = curricula.by_recipe(table, FAR, near=64).set_index("recipe")
    short, third = near.loc["short rows"], near.loc["a third of long rows"]
    said = f"short rows answered {short['accuracy']:.2f}, at 16K {short['exact']:.2f} against {third['exact']:.2f}"
    yield Check(short["accuracy"] > 0.99 and short["exact"] < 0.8 < 0.99 < third["exact"], said, short["seeds"])
    yield Check(abs(short["local_loss"] - third["local_loss"]) < 0.01, "", short["seeds"])


def _unlearnt(table: pd.DataFrame) -> Iterator[Check]:
    row = curricula.by_recipe(table, FAR, near=64).set_index("recipe").loc["short rows, no needles"]
    said = f"{row['accuracy']:.2f} of the questions at 64 tokens, {row['exact']:.2f} at 16K"
    yield Check(max(row["accuracy"], row["exact"]) < 0.1, said, row["seeds"])


def _methods(table: pd.DataFrame) -> Iterator[Check]:
    near = curricula.by_recipe(table, FAR, near=64).set_index("recipe")
    yield Check(
        near["accuracy"].min() > 0.99,
        f"short rows at least {near['accuracy'].min():.2f} right",
        int(near["seeds"].min()),
    )
    for name in ("LoRA", "adapters", "BitFit"):
        yield above(f"{name} {near.loc[name, 'exact']:.2f}, minus full", _recall(table, "full", name))


FORGETTING = (
    Claim("Who forgets to retrieve when tuned on short rows?", "full tuning most; adapters and biases hardly", _methods,
          "recall at 16K, the rate with the lowest loss on short rows"),
)  # fmt: skip
LONG = ("a tenth of long rows", "a third of long rows", "after long rows: a third of long rows")
KEPT = dict.fromkeys((*LONG, "narrow window, short rows"), (-0.05, 0.06))
LOST = dict.fromkeys(("short rows", "after long rows: short rows"), (-1, 0))
FINE_TUNING = (
    Claim("Does fine-tuning on short rows harm recall at 16K?", "yes", lambda t: _decay(t, "recall_16384", LOST),
          "without long rows before, the interval just leaves out 0"),
    Claim("Do long rows, or a narrow window, prevent it?", "yes", lambda t: _decay(t, "recall_16384", KEPT)),
    Claim("Would one see it on the short rows?", "no", _short_rows_near, "local losses lie within 0.01 nats"),
    Claim("Do rows without needles unlearn the task?", "yes, near and far", _unlearnt),
)  # fmt: skip


# ---- curricula that follow the model: the warm-up's table, or that of the lengths, beside the steered one


def _monitors(table: pd.DataFrame) -> Iterator[Check]:
    arms, heard = curricula.outcomes(table, FAR).set_index(["recipe", "seed"]), table[table["faded"] > 0]
    for name in ("monitor holds the window", "monitor raises retrieval"):
        alarms = heard[heard["recipe"] == name].groupby("seed")["step"].min()
        acted = alarms.index[alarms < table["step"].max()]
        yield Check((len(alarms), list(acted)) == (2, [0]), "", len(arms.loc[name]))
        gain = arms.loc[name, "exact"] - arms.loc[ANEW, "exact"]
        said = f"{name}: {gain.max():+.2f} in seed {gain.idxmax()}, {(gain == 0).sum()} seeds unchanged"
        yield Check((gain == 0).sum() == 4 and gain.max() > 0.05, said, len(gain))
    exact, loss = arms.loc[("monitor holds the window", 0), ["exact", "local_loss"]]
    yield Check(exact == 1 and loss > 2.7, f"local loss there {loss:.2f}", len(gain))


def _balance(table: pd.DataFrame) -> Iterator[Check]:
    arms = curricula.outcomes(table, FAR)
    arms = arms.assign(weaker=curricula.balanced(arms))
    for share in ("25%", "50%", "75%"):
        fixed = f"reasoning {share}"
        yield includes_zero(f"less {share}", tables.difference(arms, "weaker", fixed, "reasoning by need", by="recipe"))


STEERED = (
    Claim("Does a window that follows the model do as well as the best plan?",
          "in recall; no lower local loss is shown",
          lambda t: _less(t, WARM, FOLLOWS, (above, -0.05), (includes_zero,))),
    Claim("Do the monitors help?", "in one seed of five", _monitors,
          "they sound in two, in the second at the last step"),
)  # fmt: skip
STEERED_LENGTHS = (
    Claim("Do steered lengths come up to short rows?", "not by need; open for the bandit",
          lambda t: [below("by need", _recall(t, "short throughout", BY_NEED)),
                     includes_zero("by a bandit", _recall(t, "short throughout", "lengths by a bandit")),
                     includes_zero("by need less random lengths", _recall(t, "random lengths", BY_NEED))],
          "recall at 16K, one rate"),
)  # fmt: skip
BALANCE = (Claim("Does reasoning by need beat a fixed share?", "not shown", _balance, "the weaker of two recalls"),)


# ---- needles far away


def _reached(table: pd.DataFrame, task: str, lowest: dict[int, Real]) -> Iterator[Check]:
    """Checks that the whole readers answer at least so much of a task at these lengths, in both haystacks."""
    rows = recall.recall_table(table).query("reader == 'whole training' and task == @task")
    for length, level in lowest.items():
        here = rows[rows["length"] == length]
        said = f"{' and '.join(f'{share:.3f}' for share in here['exact'])} at {length:,}"
        yield Check(here["exact"].min() >= level, said, int(here["seeds"].min()))


def _growing(table: pd.DataFrame) -> Iterator[Check]:
    rows = recall.recall_by_length(table).query("reader == 'whole training' and task == 'growing distractors'")
    for check, haystack in ((below, "synthetic"), (includes_zero, "text")):
        lost = tables.difference(rows[rows["haystack"] == haystack], "exact", 4096, MILLION, by="length")
        yield check(haystack, lost)


def _cost(table: pd.DataFrame) -> Iterator[Check]:
    rows = table[table["length"] == SIXTEEN]
    seconds, megabytes, question = (rows[f].max() for f in ("encode_seconds", "peak_megabytes", "question_seconds"))
    said = f"at most {seconds:.0f} s and {megabytes:.0f} MB; a question {1e3 * question:.0f} ms"
    yield Check(seconds < 300 and megabytes < 4000 and question < 2, said, rows["seed"].nunique())


def _foretold(table: pd.DataFrame) -> Iterator[Check]:
    held = recall.misses(table).query("length > 4096")
    weak, missed, seeds = held[held["reader"] != "whole training"], held[held["missed"] > 0], held["seed"].nunique()
    whole = missed[missed["reader"] == "whole training"]["inside"]
    order = rank_correlation(weak["pareto_miss"], weak["miss"])
    yield Check(order > 0.8 and weak["miss"].min() > 0, f"rank correlation of weaker readers {order:.2f}", seeds)
    said = f"inside the interval {held['inside'].sum()} of {len(held)}"
    said += f"; of those with a miss {missed['inside'].sum()} of {len(missed)}"
    yield Check(missed["inside"].mean() < 0.8, f"{said}, whole training {whole.sum()} of {len(whole)}", seeds)


LONG_INPUTS = (
    Claim("Is one needle found in a million tokens, and in sixteen million?", "yes, in noise and in text",
          lambda t: _reached(t, "one needle", {MILLION: 0.99, SIXTEEN: 0.95})),
    Claim("Are two of six needles told apart at 64K?", "yes",
          lambda t: _reached(t, "six needles, two asked", {65_536: 0.85})),
    Claim("Do distractors that grow with the input cost recall?", "in noise; in text it is not shown", _growing,
          "a million tokens less 4K"),
    Claim("Are sixteen million tokens read in minutes and kept in 4 GB?", "yes", _cost, repeated=True),
    Claim("Were the misses foretold?", "their order, not their number", _foretold, "one haystack a case: too narrow"),
)  # fmt: skip
