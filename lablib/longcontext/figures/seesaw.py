"""The figures of notebook 01: the seesaw, the gradients logged beside it, its controls, and what was doubted."""

import pandas as pd

from lablib.longcontext.figures.start import EXACT, LENGTH, STEP, chance, exact_at, questions_asked, recall_chart
from lablib.longcontext.robustness import TRAINED_ON, both_ends, by_needle, with_chain_model, with_group, with_training
from lablib.longcontext.summaries import PLAIN, RETRIEVES, VARIANTS, by_length, gradient_mass
from lablib.viz.chart import Axis, Chart, Panel, Reference, extremes, facets, figure
from lablib.viz.style import BLUE, FAMILIES, GREEN, RETRIEVAL, WINDOW, listing, ramp, spell_length
from lablib.viz.words import stores

CONDITIONS = (
    "one needle", "no marker", "a gap in the needle", "one distractor", "growing distractors", "needles as in training",
)  # fmt: skip
CURVES = {
    "whole": ("whole model", BLUE),
    "window_alone": ("windows alone", WINDOW),
    "hsa_alone": ("HSA alone", RETRIEVAL),
    "far": ("whole model, {far}", GREEN),
}


def with_windows(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows in order of their window, with its name, and with window and reach as a place on an axis."""
    rows = rows.sort_values("model.window", kind="stable")
    window = rows["model.window"].astype(int).astype(str)
    reach = "<br>(" + rows["reach"].astype(int).astype(str) + ")" if "reach" in rows else ""
    return rows.assign(window="window " + window, place=window + reach)


def window_colours(rows: pd.DataFrame) -> dict[str, str]:
    """The ramp from narrow to wide."""
    windows = sorted(rows["model.window"].astype(int).unique())
    return dict(zip((f"window {window}" for window in windows), ramp(len(windows)), strict=True))


PLACE = Axis("place", "window (stacked reach), tokens", "category")


@figure
def seesaw_figure(table: pd.DataFrame, own: pd.DataFrame | None = None) -> Chart | None:
    """Exact recall of a needle by input length for each window, and at the longest common length by window.

    `own` arms are drawn over the recorded ones as open diamonds.
    """
    if (rows := by_length(table)).empty:
        return None
    rows, colours = with_windows(rows), window_colours(rows)
    longest = int(rows.groupby("window")["length"].max().min())
    yours = None if own is None or own.empty else with_windows(by_length(own))
    at_end, yours_there = (None if t is None else t[t["length"] == longest] for t in (rows, yours))
    recall = at_end.groupby("model.window")["exact"].mean()
    able, not_able = list(recall[recall >= RETRIEVES].index), list(recall[recall < RETRIEVES].index)
    far, finding = spell_length(longest), "no window retrieves at {far}"
    if able:
        finding = f"windows {listing(able)} retrieve at {{far}}" + (f", {listing(not_able)} do not" if not_able else "")
    if able and not_able and max(able) < min(not_able):
        finding = f"in the mean windows up to {max(able)} retrieve at {{far}}, wider ones do not"
    same = {"y": EXACT, "by": "window", "colours": colours}
    return Chart(
        panels=[
            Panel(rows=rows, x=LENGTH, own=yours, title="by input length", references=chance(rows), **same),
            Panel(rows=at_end, x=PLACE, own=yours_there, title=f"at {far} tokens", **same),
        ],
        widths=[0.6, 0.4],
        title=finding[0].upper() + finding[1:].format(far=far),
        source=questions_asked(rows),
        caption=f"All windows were trained on rows of {int(rows['data.length'].iloc[0])} tokens. Retrieve: at least "
        f"{RETRIEVES:.2f} in the mean over seeds.",
    )


@figure
def controls_figure(table: pd.DataFrame) -> Chart | None:
    """Exact recall by length of the narrow model and of what else could have answered."""
    rows = by_length(table, None)
    narrow = rows["model.window"] == rows["model.window"].min()
    wide = (rows["variant"] == "SWA only") & (rows["model.window"] == rows["data.length"])
    rows = rows.assign(family=rows["variant"].where(~wide, "SWA only, wide"))
    rows = rows[(narrow & rows["variant"].isin(FAMILIES)) | wide]
    if rows.empty:
        return None
    longest = int(rows.groupby("family")["length"].max().min())
    there = rows[rows["length"] == longest].groupby("family")["exact"].mean().sort_values(ascending=False)
    best = "; ".join(f"{name} {value:.2f}" for name, value in there.iloc[:2].items())
    names = [name for name in FAMILIES if name in set(rows["family"])]
    faint = ["SWA only, wide"] if len(names) > 6 else []
    title = f"Recall at {spell_length(longest)} tokens: {best}"
    return recall_chart(rows, "family", title, names=names, references=chance(rows), faint=faint)


@figure
def gradient_figure(table: pd.DataFrame) -> Chart | None:
    """Loss and gradient norms on the HSA path by training step."""
    if (rows := by_length(table, phase="train")).empty:
        return None
    measures = {"loss": "loss (nats)", "hsa_grad": "gradient on the HSA path", "retrieval_grad": "on its projections"}
    learnt = gradient_mass(table).groupby("model.window")["steps_to_learn"].mean()
    rows = rows[rows["step"].isin(sorted(rows["step"].unique())[4::5])]
    rows = with_windows(rows.assign(**{name: rows[name].clip(lower=1e-6) for name in measures}))
    same = {"rows": rows, "x": STEP, "by": "window", "colours": window_colours(rows), "geometric": True}
    return Chart(
        panels=[Panel(y=Axis(name, "", "log"), title=title, **same) for name, title in measures.items()],
        title=f"The loss falls below 0.1 at step {learnt.iloc[-1]:.0f} (window {learnt.index[-1]}), "
        f"{learnt.iloc[0]:.0f} (window {learnt.index[0]})",
        source="every fifth logged step, log scales",
    )


@figure
def gradient_mass_figure(table: pd.DataFrame) -> Chart | None:
    """Norms of the gradient on the HSA path, summed over the logged steps of the training, by window."""
    if (mass := gradient_mass(table)).empty:
        return None
    paths = {"hsa_grad": "whole HSA path", "retrieval_grad": "retrieval projections"}
    rows = with_windows(mass.assign(store=stores(table))).rename(columns=paths)
    rows = rows.melt(["place", "seed", "store"], list(paths.values()), "path", "norm")
    means = mass.groupby("model.window")["hsa_grad"].mean()
    return Chart(
        panels=[Panel(rows=rows, x=PLACE, y=Axis("norm", "summed gradient norm (log scale)", "log"), by="path",
                      colours=dict(zip(paths.values(), (RETRIEVAL, GREEN), strict=True)))],
        title=f"Summed gradient norm of HSA: {means.iloc[0]:.1f} at window {means.index[0]}, "
        f"{means.iloc[-1]:.1f} at window {means.index[-1]}",
    )  # fmt: skip


@figure
def local_figure(table: pd.DataFrame) -> Chart | None:
    """Held-out loss by window: what a wide window is better at. Each panel has its own scale."""
    kinds = {"local component, every token": "a local rule", "real text, every token": "real text (bytes)"}
    found = {title: rows for kind, title in kinds.items() if len(rows := by_length(table, kind, "heldout"))}
    if not found:
        return None
    means = {title: rows.groupby("model.window")["loss"].mean() for title, rows in found.items()}
    gains = [f"{mean.iloc[-1] - mean.iloc[0]:+.2f} nats on {title}" for title, mean in means.items()]
    wide, narrow = (next(iter(means.values())).index[i] for i in (-1, 0))
    axis = Axis("loss", "held-out loss (nats per token)")
    return Chart(
        panels=[Panel(rows=with_windows(rows), x=PLACE, y=axis._replace(title="" if i else axis.title), title=title)
                for i, (title, rows) in enumerate(found.items())],
        title=f"Window {wide} against {narrow}: {listing(gains)}",
    )  # fmt: skip


@figure
def ablation_figure(table: pd.DataFrame, length: int = 16_384) -> Chart | None:
    """Exact recall at one length, narrow against wide window, a pair of bars for each thing that was changed."""
    rows = by_length(table, None)
    rows = rows[(rows["length"] == length) & (rows["variant"] != "SWA only")]
    rows = rows[rows["model.window"].isin([rows["model.window"].min(), rows["data.length"].max()])]
    complete = rows.groupby("variant")["model.window"].nunique() == 2
    names = tuple(name for name in (PLAIN, *VARIANTS) if complete.get(name, False))
    return _both_ends(rows[rows["variant"].isin(names)], "variant", names, "variants") if names else None


@figure
def tuning_figure(table: pd.DataFrame, length: int = 16_384) -> Chart | None:
    """Exact recall at one length, narrow against wide window, a pair of bars for each way to tune."""
    rows = table[table["phase"] == "test"]
    length = length if (rows["length"] == length).any() else rows["length"].max()
    rows = rows[rows["length"] == length].sort_values(["model.retrieval_init", "model.width", "train.optim.lr"])
    width, rate = rows["model.width"].map(", width {}".format), rows["train.optim.lr"].map(", rate {:g}".format)
    rows = rows.assign(setting=rows["model.retrieval_init"] + width + rate)
    return _both_ends(rows, "setting", tuple(rows["setting"].unique()), "settings") if len(rows) else None


def _both_ends(rows: pd.DataFrame, by: str, names: tuple, what: str) -> Chart:
    apart = both_ends(rows, [by])
    wins, lower = int((apart["high"] < 0).sum()), int((apart["wide less narrow"] < 0).sum())
    look = {"kind": "bars", "by": "window", "colours": window_colours(rows)}
    return Chart(
        panels=[Panel(rows=with_windows(rows), x=exact_at(int(rows["length"].max())), y=Axis(by, ticks=names), **look)],
        title=f"The narrow window retrieves more in {lower} of {len(names)} {what}, in {wins} with the whole interval",
        source=questions_asked(rows),
        caption="Counted: paired 95 % intervals of wide less narrow below zero.",
    )


@figure
def race_figure(table: pd.DataFrame) -> Chart | None:
    """Recall of the whole model, of its windows without HSA, and of HSA with windows cut to a chunk, by step."""
    rows = with_group(table).dropna(subset=["whole"])
    if rows.empty:
        return None
    groups = sorted(rows["group"].unique(), key=lambda name: (len(name) > 10, int(name.split()[1].strip(","))))
    far = rows["lengths"].iloc[0].split()[-1]
    names = {column: name.format(far=spell_length(int(far))) for column, (name, _) in CURVES.items()}
    last = rows[rows["step"] == rows["step"].max()].groupby("group")[["hsa_alone", "window_alone"]].mean()
    found = [f"{group} by {'HSA' if last.loc[group].idxmax() == 'hsa_alone' else 'its windows'}" for group in groups]
    second = Reference(int(rows["train.steps"].iloc[0]), "second part", "x")
    colours = {name: CURVES[column][1] for column, name in names.items()}
    rows = rows.melt(["group", "step", "seed", "store"], list(CURVES), "curve", "exact").replace({"curve": names})
    same = {"x": STEP, "y": EXACT, "by": "curve", "references": [second], "colours": colours}
    return Chart(
        panels=facets(rows, "group", groups, **same),
        columns=min(2, len(groups)),
        height=220,
        title="Who answers: " + ", ".join(name for name in found if "then" not in name),
        source=f"{questions_asked(table)} and point",
    )


@figure
def harder_figure(table: pd.DataFrame, length: int = 16_384) -> Chart:
    """Exact recall by what stands in the haystack, narrow against wide window, a panel a kind of training rows."""
    rows = with_training(table)
    length = length if (rows["length"] == length).any() else int(rows["length"].max())
    rows = with_windows(rows[rows["length"] == length])
    narrow = rows[(rows["model.window"] == rows["model.window"].min()) & (rows["trained_on"] == "one needle")]
    means = narrow.groupby("condition")["exact"].mean()
    told = [name for name in ("one needle", "one distractor", "growing distractors") if name in means]
    found = [f"{means[name]:.2f} with {name}" for name in told]
    conditions = tuple(name for name in CONDITIONS if name in set(rows["condition"]))
    return Chart(
        panels=facets(rows, "trained_on", _kinds(rows), "trained on {}", kind="bars", x=exact_at(length),
                      y=Axis("condition", ticks=conditions), by="window", colours=window_colours(rows)),
        columns=2,
        title="Trained on one needle: " + (", ".join(found) or "not in this table"),
        source=questions_asked(rows),
    )  # fmt: skip


@figure
def growing_figure(table: pd.DataFrame) -> Chart | None:
    """Exact recall of the narrow model, by what it was trained on, with one distractor every so many tokens."""
    rows = with_training(table)
    rows = rows[(rows["condition"] == "growing distractors") & (rows["model.window"] == rows["model.window"].min())]
    if rows.empty:
        return None
    far = rows[rows["length"] == rows["length"].max()].groupby("trained_on")["exact"].mean()
    title = f"Among many distractors, training on {far.idxmax()} keeps {far.max():.2f}"
    source = f"one distractor every {int(rows['tokens_per_distractor'].iloc[0])} tokens, "
    return recall_chart(rows, "trained_on", title, source=source, names=_kinds(rows), references=chance(rows))


def _kinds(rows: pd.DataFrame) -> list[str]:
    return [kind for kind in reversed(TRAINED_ON) if kind in set(rows["trained_on"])]


@figure
def tracking_figure(table: pd.DataFrame) -> Chart | None:
    """Exact recall of chains of two look-ups: a key leads to a key, and that one to the value."""
    rows = with_chain_model(table)
    rows = rows[rows["phase"] == "test"]
    if rows.empty:
        return None
    chains, far = int(rows["data.num_pairs"].iloc[0]), rows["length"].max()
    title = extremes(rows[rows["length"] == far], "chain_model", "exact", f"Chains at {spell_length(far)} tokens")
    guess = Reference(1 / chains, f"one of the {chains} values in sight")
    return recall_chart(rows, "chain_model", title, references=[guess])


@figure
def placements_figure(table: pd.DataFrame, length: int = 65_536) -> Chart:
    """Exact recall where each question has a placement of its own; needles that a chunk border parts stand apart."""
    rows = by_needle(table)
    length = length if (rows["length"] == length).any() else int(rows["length"].max())
    rows = with_windows(rows[rows["length"] == length])
    narrow = rows["model.window"].min()
    means = rows[rows["model.window"] == narrow].groupby(["trained_on", "needle"])["exact"].mean().unstack()
    said = [f"{name} {mean['whole']:.2f} whole, {mean['parted']:.2f} parted" for name, mean in means.iterrows()]
    return Chart(
        panels=facets(rows, "trained_on", _kinds(rows), "trained on {}", kind="bars", x=exact_at(length),
                      y=Axis("needle", ticks=("whole", "parted")), by="window", colours=window_colours(rows)),
        title=f"Window {narrow} finds, trained on " + "; on ".join(said),
        source=questions_asked(rows),
    )  # fmt: skip
