"""The explorers of notebook 02, over recorded runs: draw a schedule and see the nearest one; replay a training."""

from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lablib.longcontext.figures.start import EXACT, LENGTH, SHARE, STEP
from lablib.longcontext.stages import Curriculum, Stage
from lablib.viz.chart import Axis, Chart, Panel, draw
from lablib.viz.style import BLUE, CRIMSON, GREEN, PINK, RETRIEVAL, VERMILLION
from lablib.viz.widgets import Explorer

STEPS = 100  # of a drawn schedule
CHUNK = 8
PLACES = 20  # at which two schedules are compared
CURVES = {"window": "window", "top_k": "top-k", "row_length": "row length"}
LENGTHS = {"64": (64, 64, 64, 64), "64 to 512": (64, 128, 256, 512), "512": (512, 512, 512, 512)}


def drawn(warm_up: int, first_window: int, first_top_k: str, window: int, rows: str) -> Curriculum:
    """A warm-up over `warm_up` percent of the steps, then `window` with top-k 4; `rows` names their lengths."""
    warm = {"window": first_window, "top_k": None if first_top_k == "dense" else int(first_top_k)}
    then, turn = {"window": window, "top_k": 4}, warm_up * STEPS // 100
    edges = sorted({0, turn, *(STEPS * i // 4 for i in range(1, 4)), STEPS})
    stages = []
    for start, stop in pairwise(edges):
        lengths, reads = (LENGTHS[rows][4 * start // STEPS],), warm if start < turn else then
        stages.append(Stage(start=start, stop=stop, lengths=lengths, shrinks=True, **reads))
    return Curriculum(stages=tuple(stages))


def curves_of(curriculum: Curriculum) -> np.ndarray:
    """(3, 20): log2 of window, top-k and row length at twenty places of the training."""
    steps = [int(step) for step in np.linspace(0, curriculum.steps - 1, PLACES)]
    reads = [
        (curriculum.window_at(n), curriculum.top_k_at(n, CHUNK), max(curriculum.at_step(n).lengths)) for n in steps
    ]
    return np.log2(reads).T


def recorded_curves(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The same of the recorded runs, by recipe, from what was logged in their training."""
    found = {}
    for name, run in table[table["phase"] == "train"].groupby("recipe", sort=False):
        run = run[run["seed"] == run["seed"].min()].drop_duplicates("step").sort_values("step")
        at = np.linspace(0, run["step"].max(), PLACES)
        nearest = np.abs(run["step"].to_numpy()[None, :] - at[:, None]).argmin(axis=1)
        found[str(name)] = np.log2(run[list(CURVES)].to_numpy()[nearest].T)
    return found


def schedule_explorer(table: pd.DataFrame) -> Explorer:
    """Sliders for a schedule; drawn beside it, the recorded schedule nearest to it and how that one ended.

    `table`: recorded recipes, each at one learning rate (rows with phase "train", "heldout" and "test"). Of recipes
    with the same window, top-k and lengths the first counts.
    """
    known, tests = recorded_curves(table), table[table["phase"] == "test"]
    plain = table.filter(regex=r"mix\.plain$").max(axis=1) > 0  # the others never saw the local rule
    local = table[(table["phase"] == "heldout") & plain].groupby("recipe")["local_loss"].mean()

    def draw_schedule(warm_up: int, first_window: int, first_top_k: str, window: int, rows: str) -> go.Figure:
        wanted = curves_of(drawn(warm_up, first_window, first_top_k, window, rows))
        name = min(known, key=lambda recipe: float(np.square(known[recipe] - wanted).sum()))
        skill = f"local loss {local[name]:.2f} nats" if name in local else "trained on needles alone"
        return schedule_figure(wanted, known[name], name, tests[tests["recipe"] == name], skill)

    windows = [8, 16, 32, 64]
    sliders = {"warm_up": [0, 10, 20, 40, 60], "first_window": windows, "first_top_k": ["dense", "4"]}
    sliders |= {"window": windows, "rows": list(LENGTHS)}
    return Explorer(draw_schedule, sliders, start={"warm_up": 40, "window": 64})


def schedule_figure(wanted: np.ndarray, nearest: np.ndarray, name: str, tests: pd.DataFrame, skill: str) -> go.Figure:
    """Left: the drawn schedule and the nearest recorded one. Right: recall of that one by length."""
    share, both = np.linspace(0, 100, PLACES), {"drawn": wanted, "recorded": nearest}
    lines = pd.concat(
        pd.DataFrame({"share": share, "size": 2**values, "line": f"{curve}, {kind}"})
        for kind, curves in both.items()
        for curve, values in zip(CURVES.values(), curves, strict=True)
    ).assign(seed=0, store=tests["store"].iloc[0])
    names = list(lines["line"].unique())
    sizes = Axis("size", "tokens, or chunks (log scale)", "log", (3, 700), ticks=tuple(2**i for i in range(2, 10)))
    far = tests[tests["length"] == tests["length"].max()]
    return draw(Chart(
        panels=[
            Panel(rows=lines, x=Axis("share", "% of the training"), y=sizes, by="line", faint=names[3:],
                  colours=dict(zip(names, (BLUE, VERMILLION, GREEN) * 2, strict=True)), title="the schedules"),
            Panel(rows=tests.assign(line="recall"), x=LENGTH, y=EXACT, by="line", colours={"recall": PINK},
                  title="exact recall of the recorded one"),
        ],
        widths=[0.55, 0.45],
        lines=4,
        title=f"Nearest: {name}",
        drawn_from=f"recorded: {far['exact'].mean():.2f} at {int(far['length'].iloc[0]):,} tokens, {skill}; bars: "
        f"95 % t interval over {far['seed'].nunique()} seeds, of fewer than five the range",
        caption="Left: window, top-k and row length of the drawn schedule, and faint those of the "
        "nearest recorded run. Right: the recall of that run by input length.",
    ))  # fmt: skip


def replay_explorer(table: pd.DataFrame) -> Explorer:
    """A slider for the recipe and one for the step: HSA's share of attention and gradient, and recall, until then."""
    rows = table[(table["phase"] == "train") & table["global_share"].notna()]
    recipes, steps = list(rows["recipe"].unique()), sorted(int(step) for step in rows["step"].unique())

    def draw_until(recipe: str, until: int) -> go.Figure:
        mine = rows[rows["recipe"] == recipe]
        until = max(until, int(mine["step"].min()))
        return replay_figure(mine[mine["step"] <= until], recipe, steps[-1])

    return Explorer(draw_until, {"recipe": recipes, "until": steps}, start={"recipe": recipes[0], "until": steps[-1]})


def replay_figure(rows: pd.DataFrame, recipe: str, last: int) -> go.Figure:
    """HSA's shares of attention and gradient, and recall near and far, by step."""
    lengths = [int(text) for text in str(rows["probe_lengths"].iloc[0]).split()[:2]]
    shares = {"global_share": "of the attention", "global_grad": "of the gradient"}
    recalls = {f"recall_{length}": f"at {length:,} tokens" for length in lengths}
    end = rows[rows["step"] == rows["step"].max()]

    def panel(title: str, names: dict[str, str], *colours: str) -> Panel:
        lines = rows.rename(columns=names).melt(["step", "seed", "store"], list(names.values()), "line", "share")
        step = STEP._replace(range=(-0.03 * last, 1.03 * last))
        return Panel(rows=lines, x=step, y=Axis("share", range=SHARE), by="line", title=title,
                     colours=dict(zip(names.values(), colours, strict=True)))  # fmt: skip

    return draw(Chart(
        panels=[panel("HSA's share", shares, RETRIEVAL, CRIMSON), panel("exact recall", recalls, BLUE, GREEN)],
        lines=4,
        title=recipe,
        source=f"step {int(end['step'].iloc[0])}: window {end['window'].mean():.0f}",
        caption="A recorded training until the chosen step. Left: how much of attention and gradient goes to HSA. "
        "Right: recall near and far.",
    ))  # fmt: skip
