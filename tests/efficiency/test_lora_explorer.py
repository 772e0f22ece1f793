"""The explorer of notebook 05 trains a real adapter, and its picture has the numbers."""

import numpy as np
import pandas as pd
import pytest

from lablib.efficiency.explore import adapted, lora_explorer

SWEEP = pd.DataFrame([
    {"phase": "read", "name": "LoRA", "seed": 0, "tuning.rank": rank, "train.optim.lr": lr, "excess": rank / 10 + lr}
    for rank in (1, 2, 4, 8) for lr in (1e-3, 1e-2, 1e-1)
])  # fmt: skip


@pytest.mark.parametrize("rank", [1, 2, 4])
def test_no_adapter_is_nearer_than_the_best_matrix_of_its_rank(rank):
    wanted, found = adapted(rank, 4.0, 3e-2)
    assert np.linalg.matrix_rank(found, tol=1e-4) <= rank
    best = (np.linalg.svd(wanted)[1][rank:] ** 2).sum()
    missing = np.square(found - wanted).sum()
    assert missing >= best - 1e-6
    assert missing <= best + 0.05 * np.square(wanted).sum()


def test_the_picture_shows_the_change_and_the_nearest_recorded_arm():
    draw = lora_explorer(SWEEP).draw
    figure = draw(rank=2, alpha=4.0, learning_rate=1.2e-2)
    wanted, _ = adapted(2, 4.0, 1.2e-2)
    np.testing.assert_allclose(figure.data[0].z, wanted)
    np.testing.assert_allclose(np.array(figure.data[1].z) + np.array(figure.data[2].z), wanted, atol=1e-6)
    assert "rate 0.01: 0.21 nats" in figure.layout.meta["source"]
