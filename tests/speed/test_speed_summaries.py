"""Tables with a known answer give that answer."""

import pandas as pd
import pytest

from lablib.speed import summaries

ROWS = pd.DataFrame(
    {
        "operator": "sliding window",
        "mode": "forward",
        "shape.time": 64,
        "shape.dim": 16,
        "shape.kv_heads": 1,
        "provider": ["banded", "banded", "banded", "causal SDPA"],
        "seconds": [0.001, 0.002, 0.009, 0.004],
        "floor_seconds": [0.001] * 4,
        "error": [1e-7, 2e-7, 3e-7, float("nan")],
        "same_work": [True, True, True, False],
    }
)


def test_medians_stand_beside_the_floor_and_other_work_is_called_so():
    found = summaries.beside_the_floor(ROWS).set_index("provider")
    assert found["ms"].tolist() == pytest.approx([2.0, 4.0])
    assert found["times the floor"].tolist() == pytest.approx([2.0, 4.0])
    assert found["error"].tolist() == ["2e-07", "other work"]
    assert summaries.beside_the_floor(ROWS.iloc[:0]).empty


def test_ratios_are_over_the_provider_that_is_named():
    where = {"operator": "sliding window", "mode": "forward", "tokens": 64}
    assert summaries.over(ROWS, "causal SDPA", **where)["banded"] == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no 'flash'; there are"):
        summaries.over(ROWS, "flash", **where)
    with pytest.raises(ValueError, match="64 tokens: 2 shapes"):
        summaries.over(pd.concat([ROWS, ROWS.assign(**{"shape.dim": 32})]), "causal SDPA", **where)
