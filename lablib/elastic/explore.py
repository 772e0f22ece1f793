"""The explorer of notebook 04: choose a budget; see what it costs, what is kept, and what was recorded near it."""

import pandas as pd
import plotly.graph_objects as go

from lablib.elastic.budgets import Budget, cost, full_sizes, sliced_config
from lablib.elastic.family import BUDGETS, PARENT
from lablib.elastic.figures.kept import kept_figure
from lablib.elastic.slices import Axis, indices
from lablib.viz.widgets import Explorer

SHOWN = {
    "MLP (layer 1)": Axis("hidden", 1),
    "Mamba-2, x (layer 0)": Axis("channels", 0),
    "attention, queries (layer 2)": Axis("channels", 2),
}


def budget_explorer(table: pd.DataFrame) -> Explorer:
    """Sliders for each axis, over the table of `elastic/family`."""
    rows = table[(table["phase"] == "read") & (table["name"] == "family") & (table["budget"] != "teacher")]
    recorded = rows.groupby("budget")[["share", "loss", "recall"]].mean()
    whole, every = cost(PARENT), indices(PARENT, Budget())
    sizes = {name: len(every[axis]) for name, axis in SHOWN.items()}

    def draw(width: int, hidden: int, mamba_heads: int, heads: int) -> go.Figure:
        budget = Budget(width=width, hidden=hidden, mamba_heads=mamba_heads, heads=heads)
        found, kept = cost(sliced_config(PARENT, budget)), indices(PARENT, budget)
        share = found.parameters / whole.parameters
        near = (recorded["share"] - share).abs().idxmin()
        told = (
            f"{found.parameters:,} of {whole.parameters:,} parameters ({share:.0%}), "
            f"{found.state_bytes / 1024:.0f} KiB of state, {found.flops / 1e3:.0f} kFLOP a token; "
            f"recorded near it ({near}): loss {recorded['loss'][near]:.2f}, recall {recorded['recall'][near]:.2f}"
        )
        matrices = {name: (set(kept[axis].tolist()), width) for name, axis in SHOWN.items()}
        return kept_figure(matrices, sizes, PARENT.width, told)

    sliders = {"width": [40, 48, 56, 64], "hidden": [48, 96, 144, 192], "mamba_heads": [1, 2, 3, 4]}
    sliders["heads"] = [1, 2, 3, 4]
    small = BUDGETS["S"]
    start = {"width": small.width, "hidden": small.hidden, "mamba_heads": small.mamba_heads, "heads": 4}
    return Explorer(draw, sliders, start=start)


def trained_sizes() -> pd.DataFrame:
    """The budgets that are trained together, and what they cost."""
    whole, rows = cost(PARENT), []
    for name, budget in BUDGETS.items():
        shape = sliced_config(PARENT, budget)
        kept = {layer.kind: layer.sizes[0] for layer in full_sizes(shape)}
        row = {"size": name, "channels": shape.width, "neurons of an MLP": kept["relu2"]}
        row |= {"Mamba heads a group": kept["mamba2"], "attention heads": kept["attention"]}
        found = cost(shape).parameters
        rows.append(row | {"parameters": found, "share": round(found / whole.parameters, 2)})
    return pd.DataFrame(rows)
