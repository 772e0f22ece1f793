"""The explorer of notebook 05: a low-rank adapter learns a change of one matrix, at a rank, an alpha and a rate."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch
from torch import Generator

from lablib.core.tables import read_rows
from lablib.efficiency.figures.change import change_figure
from lablib.nn.layers import Linear
from lablib.nn.lora import Adapter, LoRAConfig
from lablib.viz.widgets import Explorer

SIZE, STEPS = 12, 60


def adapted(rank: int, alpha: float, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """The change that is wanted, of rank 3, and what an adapter makes of it in 60 steps of Adam."""
    draw = Generator().manual_seed(0)
    sizes = torch.tensor([3.0, 1.5, 0.75])
    wanted = (torch.randn(SIZE, 3, generator=draw) * sizes) @ torch.randn(3, SIZE, generator=draw) / SIZE
    adapter = Adapter(Linear(SIZE, SIZE), LoRAConfig(rank=rank, alpha=alpha), draw)
    optimizer = torch.optim.Adam([adapter.down, adapter.up], lr=rate)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (adapter.change() - wanted).square().sum().backward()
        optimizer.step()
    return wanted.numpy(), adapter.change().detach().numpy()


def lora_explorer(table: pd.DataFrame) -> Explorer:
    """Sliders for rank, alpha and rate, over the table of `efficiency/ranks`."""
    rows = read_rows(table)
    rows = rows[rows["name"].str.startswith("LoRA")]
    recorded = rows.groupby(["tuning.rank", "train.optim.lr"])["excess"].mean()

    def draw(rank: int, alpha: float, learning_rate: float) -> go.Figure:
        wanted, found = adapted(rank, alpha, learning_rate)
        left = np.square(found - wanted).sum() / np.square(wanted).sum()
        rates = recorded[rank].index.to_numpy()
        near = rates[np.abs(np.log(rates / learning_rate)).argmin()]
        told = f"{left:.0%} of the change is missing; recorded for a language model at rank {rank}, "
        told += f"alpha 4 and rate {near:g}: {recorded[rank, near]:.2f} nats above the new language"
        return change_figure(wanted, found, told)

    sliders = {"rank": [1, 2, 4, 8], "alpha": [1.0, 2.0, 4.0, 8.0, 16.0]}
    sliders["learning_rate"] = [1e-3, 3e-3, 1e-2, 3e-2, 1e-1]
    return Explorer(draw, sliders, start={"rank": 2, "alpha": 4.0, "learning_rate": 3e-2})
