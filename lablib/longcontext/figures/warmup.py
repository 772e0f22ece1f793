"""The figures of notebook 02: both sides of the seesaw in one plane, what undoes a cure, needles to 64M tokens."""

import pandas as pd

from lablib.longcontext.curricula import after_transition, asked_length, outcomes
from lablib.longcontext.figures.start import EXACT, LENGTH, SHARE, STEP, exact_at, questions_asked, recall_chart
from lablib.longcontext.recall import LAWS, misses, recall_by_length, whole_readers, with_reader
from lablib.viz.chart import Axis, Chart, Curve, Panel, Reference, extremes, facets, figure, torn
from lablib.viz.style import BLUE, GREEN, VERMILLION, ramp, spell_length
from lablib.viz.words import stores

TASKS = ("one needle", "six needles, two asked", "growing distractors")
FLOOR = 1e-4  # what is less is drawn here: a logarithmic axis has no zero
READERS = (BLUE, VERMILLION, GREEN)


@figure
def plane(table: pd.DataFrame, own: pd.DataFrame | None = None, length: int = 16_384) -> Chart:
    """Local loss (left is better) against exact recall (up is better), a colour and a symbol a recipe.

    `own` runs, if given, are drawn hollow over those of the table.
    """
    length = asked_length(table, length)
    near = int(table.loc[table["phase"] == "heldout", "length"].min())  # rows that all recipes were trained on
    arms = outcomes(table, length, near).dropna(subset=["local_loss"])
    yours = outcomes(own, length, near) if own is not None and (own["length"] == length).any() else None
    means = arms.groupby("recipe", sort=False)[["local_loss", "exact"]].mean()
    level = (means["local_loss"].min() + means["local_loss"].max()) / 2
    both = means[(means["exact"] >= 0.9) & (means["local_loss"] < level)]
    x = Axis("local_loss", "loss of the next token on plain rows (nats; left is better)")
    panel = Panel(rows=arms, x=x, y=exact_at(length), by="recipe", kind="plane", own=yours, names=list(means.index))
    panels, widths = torn(panel)
    return Chart(
        panels=panels,
        widths=widths,
        height=280,
        title=f"{len(both)} of {len(means)} recipes retrieve and learn the local rule",
        source=questions_asked(table) + ("; the axis of the loss is cut" if len(panels) > 1 else ""),
        caption=f"Retrieve: at least 0.90 at {length:,} tokens. Learn the rule: a loss below {level:.2f} nats, midway "
        "between the best and the worst recipe. Both: " + ("; ".join(map(str, both.index)) or "none") + ".",
    )


warmup_figure = schedules_figure = plane


@figure
def aftermath_figure(table: pd.DataFrame) -> Chart:
    """Recall and HSA's share since the windows were widened: does a long second phase undo the warm-up?"""
    rows = after_transition(table)
    length = _probes(table)[-1]
    end = rows[rows["since"] == rows["since"].max()]
    since = Axis("since", "steps since widening")
    return Chart(
        panels=[
            Panel(rows=rows, x=since, y=EXACT._replace(column=f"recall_{length}"), by="recipe",
                  title=f"exact recall at {length:,} tokens"),
            Panel(rows=rows, x=since, y=Axis("global_share", "share"), by="recipe", title="HSA's share of attention"),
        ],
        title=extremes(end, "recipe", f"recall_{length}", "Recall in the end"),
        source=_points(table),
    )  # fmt: skip


def _probes(table: pd.DataFrame) -> list[int]:
    return [int(text) for text in str(table["probe_lengths"].iloc[0]).split()]


def _points(table: pd.DataFrame) -> str:
    return f"{int(table['probe_questions'].iloc[0])} questions a point and seed"


@figure
def finetuning_figure(table: pd.DataFrame) -> Chart:
    """Exact recall while a trained model goes on at a renewed rate, on rows that its window covers or not."""
    return _while_tuned(table, "Fine-tuned")


@figure
def forgetting_figure(table: pd.DataFrame) -> Chart:
    """Exact recall while a trained model goes on with short rows, by how it is tuned, at its best learning rate."""
    return _while_tuned(table, "Tuned on short rows")


@figure
def forgetting_rates_figure(table: pd.DataFrame, length: int = 16_384) -> Chart:
    """Recall at a length after tuning on short rows, by how and at which learning rate, on seeds of their own."""
    length = asked_length(table, length)
    rows = outcomes(table, length)
    rate = Axis("curriculum.optim.lr", "learning rate (log scale)", "values")
    title = extremes(rows, "recipe", "exact", f"Recall at {spell_length(length)} over all rates")
    return Chart(panels=[Panel(rows=rows, x=rate, y=EXACT, by="recipe")], title=title, source=_points(table))


def _while_tuned(table: pd.DataFrame, what: str) -> Chart:
    rows = table[table["phase"].isin(["before", "train"])].dropna(subset=["global_share"])
    near, *_, far = _probes(table)
    end, names = rows[rows["step"] == rows["step"].max()], list(rows["recipe"].unique())
    return Chart(
        panels=[Panel(rows=rows.assign(exact=rows[f"recall_{length}"]), x=STEP, y=EXACT, by="recipe",
                      title=f"at {length:,} tokens", faint=names[6:]) for length in (near, far)],
        title=extremes(end, "recipe", f"recall_{far}", f"{what}, recall at {spell_length(far)}"),
        source=_points(table),
    )  # fmt: skip


@figure
def lengths_figure(table: pd.DataFrame, length: int = 65_536) -> Chart:
    """Above: recall of a single needle by training step, at one rate. Below: recall at a length, by rate."""
    length, probes = asked_length(table, length), _probes(table)
    probe, rates = probes[min(1, len(probes) - 1)], sorted(table["curriculum.optim.lr"].unique())
    rate, names = rates[len(rates) // 2], tuple(table["recipe"].unique())
    needles, arms = int(table["needles"].iloc[0]), outcomes(table, length)
    arms = arms.assign(rate="rate " + arms["curriculum.optim.lr"].map("{:g}".format)).sort_values("curriculum.optim.lr")
    middle = table[(table["phase"] == "train") & (table["curriculum.optim.lr"] == rate)]
    return Chart(
        panels=[
            Panel(rows=middle.dropna(subset=[f"recall_{probe}"]), x=STEP, y=EXACT._replace(column=f"recall_{probe}"),
                  by="recipe", title=f"one needle at {probe:,} tokens, rate {rate:g}"),
            Panel(rows=arms, kind="bars", x=EXACT, y=Axis("recipe", ticks=names), by="rate",
                  colours=dict(zip(arms["rate"].unique(), ramp(len(rates)), strict=True)),
                  title=f"one of {needles} needles at {length:,} tokens",
                  references=[Reference(1 / needles, "guess", "x")]),
        ],
        columns=1,
        title=extremes(arms[arms["rate"] == f"rate {rate:g}"], "recipe", "exact", f"Recall at {spell_length(length)}"),
        source=f"{questions_asked(table)} (below), equal training tokens",
        caption=f"Ways to spend the same training tokens. The title is about rate {rate:g}; the dotted line is a guess "
        "among the needles.",
    )  # fmt: skip


@figure
def ingredients_figure(table: pd.DataFrame) -> Chart | None:
    """Exact recall by length, a line a recipe; the top-k is named where one recipe was asked with several."""
    rows = table[table["phase"] == "test"]
    if rows.empty:
        return None
    several = rows.groupby("recipe")["asked_top_k"].transform("nunique") > 1
    asked = ", asked with top-k " + rows["asked_top_k"].astype(int).astype(str)
    rows = rows.assign(line=rows["recipe"] + asked.where(several, ""))
    far, faint = rows[rows["length"] == rows["length"].max()], [n for n in rows["line"].unique() if n.endswith("16")]
    title = extremes(far, "line", "exact", f"Recall at {spell_length(far['length'].iloc[0])}")
    return recall_chart(rows, "line", title, faint=faint)


@figure
def steered_figure(table: pd.DataFrame, length: int = 16_384) -> Chart:
    """Exact recall at a length of fixed recipes and of recipes that follow the model."""
    length = asked_length(table, length)
    return _recipes(table, outcomes(table, length), length)


@figure
def balance_figure(table: pd.DataFrame, length: int = 16_384) -> Chart:
    """Exact recall of needles and of chains at a length, two bars a recipe."""
    measures = {"exact": "retrieval: one look-up", "exact_reasoning": "reasoning: two look-ups"}
    length = asked_length(table, length)
    arms = outcomes(table, length).rename(columns=measures)
    arms = arms.melt(["recipe", "seed", "store"], list(measures.values()), "kind", "exact").dropna(subset=["exact"])
    return _recipes(table, arms, length, by="kind")


def _recipes(table: pd.DataFrame, arms: pd.DataFrame, length: int, by: str = "") -> Chart:
    names = tuple(arms["recipe"].unique())
    weaker = arms.groupby(["recipe", by or "store"])["exact"].mean().groupby("recipe").min()
    return Chart(
        panels=[Panel(rows=arms, kind="bars", x=exact_at(length), y=Axis("recipe", ticks=names), by=by)],
        title=f"Best{' of the weaker task' if by else ''}: {weaker.idxmax()} ({weaker.max():.2f})",
        source=questions_asked(table),
    )


# ---- needles far away


@figure
def reader_figure(table: pd.DataFrame) -> Chart:
    """Six needles a row: the readers learn to match keys. Dotted: the training rows become longer."""
    rows, names = _readers(with_reader(table))
    whole = rows[rows["reader"] == "whole training"]
    cut = [Reference(int(whole["train.steps"].iloc[0]), "longer rows", "x")] if len(whole) else []
    return Chart(
        panels=[Panel(rows=rows, x=STEP, y=Axis("accuracy", "accuracy on training rows", range=SHARE), by="reader",
                      references=cut, names=names, colours=dict(zip(names, READERS, strict=False)))],
        title=extremes(rows.sort_values("step").groupby("arm").tail(1), "reader", "accuracy", "Accuracy in the end"),
    )  # fmt: skip


def _readers(rows: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    return rows, sorted(rows["reader"].unique(), reverse=True)


@figure
def forecast_figure(table: pd.DataFrame) -> Chart:
    """A panel a haystack: predicted miss rate by length, a line a kind of reader; faint, that of the normal tail."""
    rows, names = _readers(with_reader(table))
    rows = rows.melt(["reader", "haystack", "length", "seed", "store"], list(LAWS), "law", "miss")
    normal = ", normal tail"
    rows["line"] = rows["reader"].where(rows["law"] == "pareto_miss", rows["reader"] + normal)
    rows["miss"] = rows["miss"].clip(lower=FLOOR)
    far = rows[(rows["length"] == rows["length"].max()) & (rows["line"] == names[0])].groupby("haystack")["miss"].mean()
    return Chart(
        panels=facets(rows, "haystack", title="{} haystack", x=LENGTH,
                      y=Axis("miss", "predicted miss rate (log scale)", "log", (FLOOR * 0.7, 1.3)), by="line",
                      names=[*names, *(name + normal for name in names)], faint=[name + normal for name in names],
                      colours=dict(zip(names, READERS, strict=False))),
        title=f"Forecast at {spell_length(rows['length'].max())}: " + ", ".join(
            f"{value:.1%} missed ({haystack})" for haystack, value in far.items()),
        source=f"scores at {int(table['sampled_length'].iloc[0])} tokens",
        caption=f"What 4K tokens foretell of longer inputs: a generalised Pareto tail, and faint a normal one. Title: "
        f"{names[0]}. Rates below {FLOOR:g} are drawn at {FLOOR:g}.",
    )  # fmt: skip


@figure
def misses_figure(table: pd.DataFrame) -> Chart | None:
    """Of the table of `longcontext/long_range`: predicted against measured misses, a mark an arm."""
    rows = misses(table)
    if rows.empty:
        return None
    beyond = rows[rows["length"] > 4096]
    rows = rows.assign(line=rows["reader"] + ", " + rows["haystack"], store=stores(table))
    for name in ("pareto_miss", "miss", "low"):
        rows[name] = rows[name].clip(lower=FLOOR)
    reach = (FLOOR * 0.7, 1.3)
    return Chart(
        panels=[Panel(rows=rows, kind="points", x=Axis("pareto_miss", "miss rate predicted from 4K", "log", reach),
                      y=Axis("miss", "miss rate measured", "log", reach), by="line", spread=("low", "high"),
                      curves=[Curve([FLOOR, 1], [FLOOR, 1], "as foretold")])],
        height=380,
        title=f"The forecast lies in the interval of the count in {int(beyond['inside'].sum())} of {len(beyond)} cases",
        source="bars: 95 % Wilson intervals",
        caption=f"On the dotted line they agree. The title counts cases beyond 4K tokens. "
        f"Rates below {FLOOR:g} are drawn at {FLOOR:g}.",
    )  # fmt: skip


@figure
def long_range_figure(table: pd.DataFrame) -> Chart | None:
    """A panel a task and haystack: exact recall by length and depth, the mean over seeds (arXiv 2511.23319, Fig. 4)."""
    rows = whole_readers(table)
    if rows.empty:
        return None
    haystacks = rows["haystack"].unique()
    low = rows.groupby(["task", "haystack", "length", "depth"])["exact"].mean().min()
    axes = {"x": LENGTH._replace(title="input length (tokens)"), "y": Axis("depth", "depth", "category")}
    rows = rows.assign(place=rows["task"] + ", " + rows["haystack"])
    places = [f"{task}, {haystack}" for task in TASKS for haystack in haystacks]
    return Chart(
        panels=facets(rows, "place", places, kind="heat", by="exact", scale=(low, 1.0), **axes),
        columns=len(haystacks),
        height=130,
        title=_needles(rows),
        source=_asked(rows),
        caption=f"The scale begins at the lowest cell, {low:.2f}.",
    )


@figure
def length_figure(table: pd.DataFrame) -> Chart | None:
    """A panel a haystack: exact recall over all depths by length, a line a task, every seed."""
    found = whole_readers(table)
    if found.empty:
        return None
    rows = recall_by_length(found).assign(store=stores(found))
    return Chart(
        panels=facets(rows, "haystack", title="{} haystack", x=LENGTH, y=EXACT, by="task", names=TASKS),
        title=_needles(found),
        source=_asked(found),
    )


def _needles(rows: pd.DataFrame) -> str:
    far = rows[rows["length"] == rows.groupby("haystack")["length"].max().min()]
    means = far.groupby("task")["exact"].mean()
    found = [f"{means[task]:.2f} {task.partition(',')[0]}" for task in TASKS if task in means]
    return f"Recall at {spell_length(far['length'].iloc[0])} tokens: {', '.join(found)}"


def _asked(rows: pd.DataFrame) -> str:
    """How many questions a task were asked, and at which lengths they were fewer."""
    least = rows.groupby("length")["questions"].min().astype(int)
    fewer = [f"{number} at {spell_length(length)}" for length, number in least[least < least.max()].items()]
    said = f"{least.max()} questions a task" + (f" ({', '.join(fewer)})" if fewer else "")
    return f"{said}, {int(rows['strata'].iloc[0])} depths"
