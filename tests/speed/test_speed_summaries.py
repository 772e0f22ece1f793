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
    ("times", "between"),
    [
        ({1024: 2.0, 4096: 0.5}, (1024, 4096)),
        ({1024: 4.0, 2048: 2.0, 8192: 0.5}, (2048, 8192)),
        ({1024: 0.9, 4096: 0.5}, (0, 1024)),  # faster throughout
        ({1024: 3.0, 4096: 1.0}, (4096, float("inf"))),  # never faster
        ({1024: 0.5, 2048: 2.0, 8192: 0.5}, (2048, 8192)),  # the last crossing counts
    ],
)
def test_a_provider_becomes_faster_for_good_between_two_measured_lengths(times, between):
    found = summaries.times_causal(paired(times), "chosen chunks")["by chunk"]
    assert found.to_dict() == pytest.approx(times)
    assert summaries.crossing(found) == between


def test_ratios_of_two_shapes_of_one_length_are_refused():
    rows = paired({1024: 2.0})
    with pytest.raises(ValueError, match="2 shapes of 1 lengths"):
        summaries.times_causal(pd.concat([rows, rows.assign(**{"shape.dim": 32})]), "chosen chunks")


def test_the_selection_is_added_where_it_was_timed():
    rows = paired({1024: 2.0, 4096: 0.5})
    choice = rows[rows["provider"].eq("by chunk") & rows["shape.time"].eq(1024)]
    choice = choice.assign(operator="selection", provider="block by block", seconds=[0.25, 0.5])
    table = summaries.with_selection(pd.concat([rows, choice]))
    times = summaries.times_causal(table, "chosen chunks")
    assert times["by chunk + selection"].dropna().to_dict() == pytest.approx({1024: 2.25})
    assert summaries.with_selection(rows)["provider"].nunique() == 2


def test_the_table_of_floors_has_a_row_a_length_and_a_column_a_provider():
    found = summaries.floor_by_length(ROWS, "sliding window")
    assert list(found) == ["blocks (banded)", "causal SDPA", "floor (ms)"]
    assert found.loc[64].tolist() == pytest.approx([2.0, 4.0, 1.0])
    assert summaries.floor_by_mode(ROWS)["forward"].tolist() == pytest.approx([2.0, 4.0])


def test_a_compiled_kernel_is_a_row_with_a_value_a_width():
    rows = [
        {"kernel": "forward", "dim": dim, "tiles": "16 x 64", "warps": 2, "stages": 3, "wgmma": 0, "mma": dim // 2,
         "registers": dim, "stack": 0, "shared": 20_484} for dim in (64, 128) for _ in range(3)
    ]  # fmt: skip
    (found,) = summaries.compiled_facts(pd.DataFrame(rows)).to_dict("records")
    assert found["registers"] == "64, 128"
    assert found["products"] == "32 mma, 64 mma"
    assert found["shared (KiB)"] == "20"


def test_the_better_order_is_set_against_causal_attention_by_the_size_of_a_group():
    ms = {
        ("chosen chunks", "causal SDPA"): (10.0, 10.0), ("chosen chunks", "ours, query-major"): (40.0, 2.0),
        ("chosen chunks", "ours, chunk-major"): (8.0, 6.0), ("selection", "ours"): (12.0, 3.0),
    }  # fmt: skip
    rows = [
        {"operator": operator, "provider": provider, "mode": "forward", "shape.time": 64, "shape.dim": 64,
         "shape.heads": 16, "shape.kv_heads": heads, "seconds": of / 1e3}
        for (operator, provider), times in ms.items() for heads, of in zip((16, 1), times, strict=True)
    ]  # fmt: skip
    found = summaries.by_group(pd.DataFrame(rows), 64)
    assert found[summaries.WITH_CHOICE].to_dict() == pytest.approx({1: 2.0, 16: 0.5})
    assert found["query-major (ms)"].to_dict() == pytest.approx({1: 40.0, 16: 2.0})
    assert set(summaries.own_keys(pd.DataFrame(rows))["shape.kv_heads"]) == {16}
