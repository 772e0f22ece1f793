"""What arms cost, side by side."""

import pandas as pd

from lablib.core.budget import budget

TRAINED = pd.DataFrame(
    {
        "arm": ["a", "a", "b"],
        "parameters": [10, 10, 10],
        "train_tokens": [5, 5, 5],
        "train_flops": [2e9, 2e9, 1e9],
        "cpu_seconds": [60.0, 60.0, 30.0],
    }
)
TIMED = pd.DataFrame({"arm": ["c", "d", "d"], "cpu_seconds": [6.0, 12.0, 12.0]})


def test_each_arm_counts_once_and_nothing_recorded_has_no_row():
    found = budget({"trained": TRAINED, "nothing": pd.DataFrame()}).iloc[0]
    assert (found["arms"], found["parameters"], found["training GFLOP (most)"]) == (2, 10, 2.0)
    assert (found["CPU-s an arm (most)"], found["CPU-min"]) == (60, 1.5)
    assert len(budget({"nothing": pd.DataFrame()})) == 0


def test_where_nothing_is_trained_there_is_a_row_of_seconds():
    found = budget({"trained": TRAINED, "timed": TIMED}).set_index("experiment").loc["timed"]
    assert (found["arms"], found["CPU-s an arm (most)"], found["CPU-min"]) == (2, 12, 0.3)
    assert pd.isna(found["parameters"])
