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


def paired(times: dict[int, float]) -> pd.DataFrame:
    """A provider and causal attention at several lengths, two seeds, the provider so many times as slow."""
    rows = [
        {"operator": "chosen chunks", "mode": "forward", "shape.time": n, "shape.dim": 64, "shape.kv_heads": 1,
         "seed": seed, "provider": name, "seconds": (seed + 1) * (ratio if name == "by chunk" else 1.0)}
        for n, ratio in times.items() for seed in (0, 1) for name in ("by chunk", "causal SDPA")
    ]  # fmt: skip
    return pd.DataFrame(rows)


def test_seconds_are_set_against_those_of_causal_attention_of_the_same_repetition():
    found = summaries.over_causal(paired({1024: 2.0, 4096: 0.5}))
    assert found["provider"].eq("by chunk").all()
    assert found["times"].tolist() == pytest.approx([2.0, 2.0, 0.5, 0.5])


@pytest.mark.parametrize(
    ("times", "tokens"),
    [
        ({1024: 2.0, 4096: 0.5}, 2048),  # a straight line in logarithms
        ({1024: 4.0, 2048: 2.0, 8192: 0.5}, 4096),
        ({1024: 0.9, 4096: 0.5}, 1024),  # faster throughout
        ({1024: 3.0, 4096: 1.0}, float("inf")),  # never faster
        ({1024: 0.5, 2048: 2.0, 8192: 0.5}, 4096),  # the last crossing counts
    ],
)
def test_the_crossing_is_where_a_provider_becomes_faster_for_good(times, tokens):
    assert summaries.crossing(summaries.over_causal(paired(times))) == pytest.approx(tokens)
