"""The figures of notebook 03: table in, plotly figure out, no torch."""

import numpy as np
import pandas as pd

from lablib.ttt.summaries import as_trained, at_best_rate, by_rate, over_positions, readings, square_root_law
from lablib.viz.chart import Axis, Chart, Panel, Reference, extremes, facets, figure, one_panel
from lablib.viz.style import AMBER, BLUE, GREY, PINK, TEAL, spell
from lablib.viz.words import stores

BEST = "best possible"
BASE = "as it is"
LOSS = "loss of the next token (nats)"
CONTEXT = ("full attention", "sliding window", "hybrid 5:1", "Gated DeltaNet", "Mamba-2", "TTT-E2E")
SHARE = Axis("exact", "share of right answers", range=(-0.04, 1.06))


def texts(table: pd.DataFrame) -> str:
    """How many texts each arm has read."""
    return f"{int(table['texts'].iloc[0])} texts a seed"


# ---- by position


@figure
def toy_figure(table: pd.DataFrame) -> Chart:
    """Loss at every position of a language whose best loss is known; each arm at its best learning rate."""
    return _positions(at_best_rate(table))


@figure
def on_bytes_figure(table: pd.DataFrame) -> Chart:
    """Loss at every position on bytes of Python's own sources, whose best loss nobody knows."""
    return _positions(table)


def _positions(table: pd.DataFrame) -> Chart:
    rows = readings(table).assign(place=lambda rows: rows["start"] + 1)
    names = sorted(rows["series"].unique(), key=lambda name: "without" in name)
    end = rows[rows["start"] >= rows["start"].max() - 7].groupby("series")["loss"].mean()
    said = [f"{name} {end[name]:.2f}" for name in ("full attention", "TTT-E2E, b=1", "no attention") if name in end]
    best = rows.drop_duplicates(["seed", "place"]).assign(series=BEST, loss=lambda rows: rows["best"])
    rows = pd.concat([rows, best.dropna(subset=["loss"])])
    return one_panel(
        rows=rows, x=Axis("place", "position in the text"), y=Axis("loss", LOSS), by="series",
        names=[*names, BEST], faint=[name for name in names if "without" in name],
        title=f"Loss over the last 8 tokens: {'; '.join(said)}", source=texts(table),
    )  # fmt: skip


@figure
def context_figure(table: pd.DataFrame) -> Chart:
    """Nats above the best possible loss by position, far beyond the length of the training texts."""
    return _stretches(table)


@figure
def sources_figure(table: pd.DataFrame) -> Chart:
    """Loss by position on bytes of Python's own sources, far beyond the length of the training texts."""
    return _stretches(table)


def _stretches(table: pd.DataFrame) -> Chart:
    """Stretches of positions that double; learners are read with their inner loop."""
    rows = readings(table)
    rows = rows[~rows["learns"].astype(bool) | (rows["mode"] != "off")]
    known = bool(rows["best"].notna().all())
    middle = np.sqrt(rows["start"].clip(lower=4) * rows["stop"])
    rows = rows.assign(middle=middle, gap=rows["loss"] - rows["best"].fillna(0))
    names = list(rows["series"].unique())
    context = [name for name in names if len(names) > 6 and name not in CONTEXT]
    edges = tuple(float(edge) for edge in sorted(set(rows["start"]) | set(rows["stop"])) if edge)
    y = Axis("gap", "nats above the best possible (log scale)", "log") if known else Axis("gap", LOSS)
    far = rows[rows["stop"] == rows["stop"].max()]
    where = f"Tokens {int(far['start'].max()):,} to {int(far['stop'].max()):,}"
    what = f"{where}, {'nats above the best' if known else 'loss'}"
    return one_panel(
        rows=rows, x=Axis("middle", "position in the text (log scale)", "log", ticks=edges), y=y, by="series",
        names=names, faint=context, references=[Reference(int(table["length"].max()), "trained up to here", "x")],
        height=340, title=extremes(far, "series", "gap", what, low_first=True), source=texts(table),
    )  # fmt: skip


# ---- mean losses


@figure
def controls_figure(table: pd.DataFrame) -> Chart:
    """Mean loss by control, read as trained and without the inner loop; dotted the best possible loss."""
    off = readings(table).query("mode == 'off'")
    parts = {"read as trained": over_positions(as_trained(table)), "without the inner loop": over_positions(off)}
    return _losses(table, parts, (BLUE, GREY))


@figure
def ladder_figure(table: pd.DataFrame) -> Chart:
    """Mean loss by step from binding keys and values to the loss that counts; dotted the best possible loss."""
    rows, trained = as_trained(table), int(table["length"].max())
    parts = {f"positions up to {trained}": over_positions(rows, 0, trained)}
    parts |= {f"from {trained} to {int(rows['stop'].max())}": over_positions(rows, trained)}
    return _losses(table, parts, (BLUE, PINK))


def _losses(table: pd.DataFrame, parts: dict[str, pd.DataFrame], colours: tuple[str, str]) -> Chart:
    rows = pd.concat([losses.assign(part=part) for part, losses in parts.items()]).assign(store=stores(table))
    best = sorted({round(rows.loc[rows["part"] == part, "best"].mean(), 6) for part in parts})
    named = BEST if len(best) == 1 else f"{BEST} of each"  # one name for lines that lie close together
    low, high = min(rows["best"].min(), rows["loss"].min()), rows["loss"].max()
    room, first = 0.06 * (high - low), next(iter(parts))
    x = Axis("loss", f"{LOSS}; the axis does not begin at 0", range=(low - room, high + room))
    return one_panel(
        rows=rows, kind="bars", x=x, y=Axis("name"), by="part", colours=dict(zip(parts, colours, strict=True)),
        references=[Reference(at, named if at == best[-1] else "", "x") for at in best if at == at],
        title=extremes(parts[first], "name", "loss", f"Loss, {first}", low_first=True), source=texts(table),
    )  # fmt: skip


@figure
def ablations_figure(table: pd.DataFrame) -> Chart | None:
    """What one change of the inner loop adds to the mean loss, paired by seed; left of the line the change helps."""
    losses = over_positions(as_trained(table)).assign(store=stores(table))
    base = losses[losses["name"] == BASE].set_index("seed")["loss"]
    if base.empty:
        return None
    losses = losses.assign(more=losses["loss"] - losses["seed"].map(base))
    rows = losses[losses["name"] != BASE] if (losses["name"] != BASE).any() else losses
    return one_panel(
        rows=rows, kind="bars", x=Axis("more", "nats more than as it is"), y=Axis("name"),
        references=[Reference(0, BASE, "x")],
        title=extremes(rows, "name", "more", "A change adds nats", low_first=True), source=texts(table),
    )  # fmt: skip


@figure
def rates_figure(table: pd.DataFrame) -> Chart:
    """Mean loss by learning rate, the same rates for every model, in short runs; dotted the best possible loss."""
    losses = by_rate(table).assign(store=stores(table))
    best = losses.groupby(["name", "rate"])["loss"].mean().groupby("name").idxmin().map(lambda place: place[1])
    return one_panel(
        rows=losses, x=Axis("rate", "learning rate (log scale)", "values"), y=Axis("loss", "mean loss (nats)"),
        by="name", names=list(table["name"].unique()), faint=["hybrid 5:1"] if losses["name"].nunique() > 6 else [],
        references=[Reference(losses["best"].mean(), BEST)], height=340,
        title=f"Best learning rates: {spell(best.min())} to {spell(best.max())}",
        source=f"{int(table['train.steps'].max())} steps",
        caption="Lowest mean loss: " + ", ".join(f"{name} at {spell(rate)}" for name, rate in best.items()) + ".",
    )  # fmt: skip


# ---- recall


@figure
def recall_figure(table: pd.DataFrame) -> Chart:
    """Share of right answers by how far back the fact stands, a panel a kind of training questions; dotted a guess."""
    rows = table[table["phase"] == "recall"].sort_values("nearest", kind="stable")
    reach = rows["nearest"].astype(int).astype(str) + "-" + rows["farthest"].astype(int).astype(str)
    kind = table["questions"].iloc[-1]
    far = rows[(rows["nearest"] == rows["nearest"].max()) & (rows["questions"] == kind)]
    return Chart(
        panels=facets(rows.assign(reach=reach), "questions", list(table["questions"].unique()), "trained with {}",
                      x=Axis("reach", "tokens from a fact to its question", "category"), y=SHARE, by="name",
                      references=[Reference(1 / int(table["facts.num_values"].iloc[0]), "a guess")]),
        title=extremes(far, "name", "exact", f"The farthest facts, {kind}"),
        source=f"{int(table['asked'].iloc[0])} texts each",
    )  # fmt: skip


taught_figure = recall_figure


@figure
def capacity_figure(table: pd.DataFrame) -> Chart:
    """Share of right answers by number of facts in a text, a line a number of fast weights."""
    rows = table[table["phase"] == "recall"].sort_values("fast_weights", kind="stable")
    rows = rows.assign(line=rows["fast_weights"].map("{:,.0f} fast weights".format))
    most = rows[rows["facts"] == rows["facts"].max()]
    return one_panel(
        rows=rows, x=Axis("facts", "facts in a text (log scale)", "values"), y=SHARE, by="line",
        colours=dict(zip(rows["line"].unique(), (AMBER, TEAL, BLUE), strict=False)),
        title=extremes(most, "line", "exact", f"With {int(rows['facts'].max())} facts"),
        source=f"{int(table['asked'].iloc[0])} texts a point and seed",
    )  # fmt: skip


# ---- cost


@figure
def cost_figure(table: pd.DataFrame) -> Chart:
    """CPU milliseconds a token, prefilled and decoded, by how many tokens stand before it."""
    rows = table.assign(prefill=1e3 * table["prefill_seconds"], decode=1e3 * table["decode_seconds"])
    length = Axis("length", "tokens before (log scale)", "length")
    ends = rows["length"].min(), rows["length"].max()
    costs = rows.pivot_table(index="name", columns="length", values="decode")[list(ends)]
    grown = (costs[ends[1]] / costs[ends[0]]).rename("times").reset_index()
    return Chart(
        panels=[Panel(rows=rows, x=length, y=Axis(name, "CPU ms a token (log scale)", "log"), by="name", title=name)
                for name in ("prefill", "decode")],
        title=extremes(grown, "name", "times", f"Decoding behind {ends[1]:,} tokens over {ends[0]:,}"),
        source=f"one thread, medians of {int(table['repeats'].max())}; long prefixes are caches of random numbers",
    )  # fmt: skip


@figure
def memory_figure(table: pd.DataFrame) -> Chart:
    """Peak memory of an outer step by chunks to a checkpoint, a line a number of chunks; dotted without checkpoints."""
    rows = table[table["group"] > 0].assign(line=table["chunks"].map("{} chunks".format))
    law = square_root_law(table).set_index("chunks").dropna()
    plain = law["MiB without checkpoints"]
    return one_panel(
        rows=rows, x=Axis("group", "chunks to a checkpoint (log scale)", "values"),
        y=Axis("peak_megabytes", "MiB of an outer step (log scale)", "log"), by="line",
        references=[Reference(level, f"{chunks} chunks, none") for chunks, level in plain.items()],
        title="Memory without checkpoints over the least with: "
        + ", ".join(f"{times:.1f} ({chunks} chunks)" for chunks, times in (plain / law["MiB"]).items()),
    )  # fmt: skip


@figure
def steps_figure(table: pd.DataFrame) -> Chart:
    """CPU seconds of an outer step, forward and backward, by order and chunk b."""
    kind = table["order"] + ", b=" + table["chunk"].astype(str)
    rows = table.assign(kind=kind.where(table["order"] != "none", "no inner loop"))
    return one_panel(
        rows=rows, kind="bars", x=Axis("step_seconds", "CPU seconds of a step"), y=Axis("kind"),
        title=extremes(rows, "kind", "step_seconds", "Seconds of a step", low_first=True),
        source=f"{int(table['batch'].iloc[0])} texts of {int(table['length'].iloc[0])} tokens, one thread",
    )  # fmt: skip


# ---- the fast weights while they read


@figure
def trace_figure(table: pd.DataFrame) -> Chart:
    """One text read with its own chunk and rate, to its end: loss, fast weights, and what would follow a token."""
    arms = table[(table["factor"] == 1) & (table["chunk"] == table["chunk"].max()) & (table["seed"] == 0)]
    return trace_chart(arms, previous=1, read=int(arms["start"].max()))


def trace_chart(rows: pd.DataFrame, *, previous: int, read: int, lines: int = 0) -> Chart:
    """By chunk until `read`: the loss, how far the weights moved; right: what would follow watched token `previous`."""
    rows = rows.sort_values("start")
    past, chunk = rows[rows["start"] <= read], int(rows["chunk"].iloc[0])
    now, last = past.iloc[-1], float(rows["start"].max())
    losses = past.melt(["start", "seed", "store"], ["loss", "best"], "line", "nats").replace({"best": BEST})
    kinds = {"first": "by the first weights", "now": "by the weights now", "seen": "share of those seen so far"}
    chances = pd.DataFrame({name: successors(now, kind, previous) for kind, name in kinds.items()})
    chances[kinds["seen"]] /= max(chances[kinds["seen"]].sum(), 1)
    chances = chances.reset_index(names="token").melt("token", list(kinds.values()), "line", "chance")
    tokens = Axis("start", "tokens read", range=(-chunk, last + chunk))
    moved = max(float(rows["moved"].max()) * 1.05, 0.01)
    moved_rows = past[["start", "moved", "seed", "store"]].assign(line="fast weights")
    return Chart(
        panels=[
            Panel(rows=losses, x=tokens, y=Axis("nats", range=(0, float(np.nanmax(rows["loss"])) * 1.05)), by="line",
                  title="loss (nats)", colours={"loss": BLUE}),
            Panel(rows=moved_rows, x=tokens, y=Axis("moved", range=(0, moved)), by="line", title="|W - W0| / |W0|",
                  colours={"fast weights": PINK}),
            Panel(rows=chances.assign(seed=now["seed"], store=now["store"]), x=Axis("token", "next token"),
                  y=Axis("chance", range=(0, 1.02)), by="line", title=f"after token {now[f'watched_{previous}']:.0f}",
                  colours=dict(zip(kinds.values(), (GREY, PINK, TEAL), strict=True))),
        ],
        lines=lines,
        title=f"After {int(now['start']) + chunk} tokens the weights have moved by {now['moved']:.1%}",
        source=f"chunks of {chunk}, {now['factor']:g} times the learnt inner rate; the chunk at {int(now['start'])}: "
        + str(now["tokens"]),
    )  # fmt: skip


def successors(row: pd.Series, kind: str, previous: int) -> np.ndarray:
    """Of one chunk, the columns of a kind for one watched token, by its successor."""
    names = [name for name in row.index if str(name).startswith(f"{kind}_{previous}_")]
    return row[names].to_numpy(float)
