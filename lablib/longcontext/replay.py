"""The explorers of notebook 02, over recorded runs: draw a schedule and see the nearest one; replay a training."""

from itertools import pairwise

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lablib.longcontext.stages import Curriculum, Stage
from lablib.viz.marks import length_axis, spell_length
from lablib.viz.style import BLUE, GREEN, GREY, ORANGE, PURPLE, VERMILLION, dress
from lablib.viz.widgets import Explorer

STEPS = 100  # of a drawn schedule
CHUNK = 8
CURVES = ("window", "top_k", "row_length")
LENGTHS = {"64": ((64,),) * 4, "64 to 512": ((64,), (128,), (256,), (512,)), "512": ((512,),) * 4}


def drawn(warm_up: int, first_window: int, first_top_k: str, window: int, rows: str) -> Curriculum:
    """A warm-up over `warm_up` percent of the steps, then `window` with top-k 4; `rows` names their lengths."""
    first = None if first_top_k == "dense" else int(first_top_k)
    lengths = LENGTHS[rows]
    edges = sorted({0, warm_up * STEPS // 100, *(STEPS * i // 4 for i in range(1, 4)), STEPS})
    stages = []
    for start, stop in pairwise(edges):
        warm = start < warm_up * STEPS // 100
        reads = {"window": first_window, "top_k": first} if warm else {"window": window, "top_k": 4}
        stages.append(Stage(start=start, stop=stop, lengths=lengths[4 * start // STEPS], shrinks=True, **reads))
    return Curriculum(stages=tuple(stages))


def curves_of(curriculum: Curriculum) -> np.ndarray:
    """(3, 20): log2 of window, top-k and row length at twenty places of the training."""
    steps = [int(step) for step in np.linspace(0, curriculum.steps - 1, 20)]
    lengths = [max(curriculum.at_step(step).lengths) for step in steps]
    windows = [curriculum.window_at(step) for step in steps]
    return np.log2([windows, [curriculum.top_k_at(step, CHUNK) for step in steps], lengths])


def recorded_curves(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """The same of the recorded runs, by recipe, from what was logged in their training."""
    found = {}
    for name, run in table[table["phase"] == "train"].groupby("recipe", sort=False):
        run = run[run["seed"] == run["seed"].min()].drop_duplicates("step").sort_values("step")
        at = np.linspace(0, run["step"].max(), 20)
        nearest = np.abs(run["step"].to_numpy()[None, :] - at[:, None]).argmin(axis=1)
        found[str(name)] = np.log2(run[list(CURVES)].to_numpy()[nearest].T)
    return found


def schedule_explorer(table: pd.DataFrame) -> Explorer:
    """Sliders for a schedule; drawn beside it, the recorded schedule nearest to it and how that one ended.

    `table`: recorded recipes, each at one learning rate (rows with phase "train", "heldout" and "test"). Of recipes
    with the same window, top-k and lengths the first counts.
    """
    known, tests = recorded_curves(table), table[table["phase"] == "test"]
    tests = tests.groupby(["recipe", "length"])["exact"].mean().unstack(0)
    plain = table.filter(regex=r"mix\.plain$").max(axis=1) > 0  # the others never saw the local rule
    local = table[(table["phase"] == "heldout") & plain].groupby("recipe")["local_loss"].mean()

    def draw(warm_up: int, first_window: int, first_top_k: str, window: int, rows: str) -> go.Figure:
        wanted = curves_of(drawn(warm_up, first_window, first_top_k, window, rows))
        name = min(known, key=lambda recipe: float(np.square(known[recipe] - wanted).sum()))
        skill = f"local loss {local[name]:.2f} nats" if name in local else "trained on needles alone"
        return schedule_figure(wanted, known[name], name, tests[name].dropna(), skill)

    sliders = {
        "warm_up": [0, 10, 20, 40, 60],
        "first_window": [8, 16, 32, 64],
        "first_top_k": ["dense", "4"],
        "window": [8, 16, 32, 64],
        "rows": list(LENGTHS),
    }
    start = {"warm_up": 40, "first_window": 8, "first_top_k": "dense", "window": 64, "rows": "64"}
    return Explorer(draw, sliders, start=start)


def schedule_figure(wanted: np.ndarray, nearest: np.ndarray, name: str, exact: pd.Series, skill: str) -> go.Figure:
    """Left: the drawn schedule and the nearest recorded one. Right: recall of that one by length."""
    titles = ("window, top-k and row length over the training", "its exact recall by length")
    figure = make_subplots(cols=2, subplot_titles=titles, column_widths=[0.6, 0.4], horizontal_spacing=0.12)
    share = np.linspace(0, 100, wanted.shape[1])
    looks = zip(("window", "top-k", "row length"), (BLUE, VERMILLION, GREEN), strict=True)
    for i, (curve, colour) in enumerate(looks):
        for values, line, text in ((wanted[i], "solid", "drawn"), (nearest[i], "dot", "recorded")):
            figure.add_scatter(
                x=share, y=2 ** values, mode="lines", name=f"{curve}, {text}", legendgroup=curve,
                line={"color": colour, "dash": line, "shape": "hv"}, row=1, col=1,
            )  # fmt: skip
    figure.add_scatter(
        x=list(exact.index), y=list(exact), mode="lines+markers", showlegend=False, line={"color": PURPLE}, row=1, col=2
    )
    ticks = [2**i for i in range(2, 10)]
    figure.update_yaxes(type="log", tickvals=ticks, title="tokens, or chunks (log scale)", row=1, col=1)
    figure.update_xaxes(title="% of the training", row=1, col=1)
    length_axis(figure, exact.index, title="tokens (log scale)", row=1, col=2)
    figure.update_yaxes(range=[-0.04, 1.06], row=1, col=2)
    far = int(max(exact.index))
    source = f"recorded: {exact[far]:.2f} at {spell_length(far)} tokens, {skill}"
    figure = dress(figure, title=f"Nearest: {name}", source=source, height=470)
    return figure.update_layout(height=500)  # names of one line or two; with another height plotly fixes the width too


def replay_explorer(table: pd.DataFrame) -> Explorer:
    """A slider for the recipe and one for the step: shares of local and global attention, and recall, until then."""
    rows = table[(table["phase"] == "train") & table["global_share"].notna()]
    recipes, steps = list(rows["recipe"].unique()), sorted(int(step) for step in rows["step"].unique())

    def draw(recipe: str, until: int) -> go.Figure:
        mine = rows[rows["recipe"] == recipe]
        until = max(until, int(mine["step"].min()))
        return replay_figure(mine[mine["step"] <= until], recipe, steps[-1])

    return Explorer(draw, {"recipe": recipes, "until": steps}, start={"recipe": recipes[0], "until": steps[-1]})


def replay_figure(rows: pd.DataFrame, recipe: str, last: int) -> go.Figure:
    """Means over seeds: the shares of the two attentions (areas), the gradient share, recall near and far."""
    near, far = (int(text) for text in str(rows["probe_lengths"].iloc[0]).split()[:2])
    mean = rows.groupby("step")[["global_share", "global_grad", "window", f"recall_{near}", f"recall_{far}"]].mean()
    figure = make_subplots(
        cols=2, subplot_titles=("share of the attention", "recall and gradient"), horizontal_spacing=0.1
    )
    areas = (("global (HSA)", mean["global_share"], ORANGE), ("local (window)", 1 - mean["global_share"], BLUE))
    for name, y, colour in areas:
        figure.add_scatter(x=mean.index, y=y, name=name, stackgroup="share", line={"color": colour}, row=1, col=1)
    lines = (
        (f"recall at {spell_length(near)}", mean[f"recall_{near}"], GREY, "solid"),
        (f"recall at {spell_length(far)}", mean[f"recall_{far}"], GREEN, "dash"),
        ("HSA's share of the gradient", mean["global_grad"], VERMILLION, "dot"),
    )
    for name, y, colour, dash in lines:
        figure.add_scatter(
            x=mean.index, y=y, name=name, mode="lines+markers", line={"color": colour, "dash": dash}, row=1, col=2
        )
    figure.update_xaxes(range=[0, last], title="training step")
    figure.update_yaxes(range=[-0.02, 1.05])
    step = int(mean.index[-1])
    source = f"{rows['seed'].nunique()} recorded seeds · step {step}: window {mean['window'].iloc[-1]:.0f}"
    return dress(figure, title=recipe, source=source, height=460)
