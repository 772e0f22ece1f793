"""Tables with a known answer give that answer."""

import pandas as pd
import pytest

from lablib.core.budget import budget
from lablib.ttt import summaries


def arm(name: str, seed: int, losses: list[float], *, mode: str = "off", rate: float = 1e-2, **more) -> pd.DataFrame:
    """One way to read of one arm, a row for each position."""
    rows = [{"start": i, "stop": i + 1, "loss": loss, "best": 1.0} for i, loss in enumerate(losses)]
    facts = {
        "phase": "read",
        "arm": f"{name} {seed} {rate}",
        "name": name,
        "seed": seed,
        "mode": mode,
        "read_rate": None,
    }
    facts |= {"learns": name.startswith("TTT-E2E"), "train.optim.lr": rate, "parameters": 100, "fast_weights": 0}
    facts |= {"train_tokens": 1000, "train_flops": 1e12, "cpu_seconds": 5.0, "store": "own", "state_bytes": 2048}
    return pd.DataFrame(rows).assign(**facts | more)


def table(*arms: pd.DataFrame) -> pd.DataFrame:
    return pd.concat(arms, ignore_index=True)


CURVES = table(
    *(arm("no attention", s, [3.0, 3.0]) for s in (0, 1)),
    *(arm("no attention", s, [3.0, 2.9], mode="naive", read_rate=0.1) for s in (0, 1)),
    *(arm("no attention", s, [3.0, 2.5], mode="naive", read_rate=1.0) for s in (0, 1)),
    *(arm("full attention", s, [2.0, 1.0]) for s in (0, 1)),
    *(arm("TTT-E2E", s, [3.0, 1.5 + s / 10], mode="on") for s in (0, 1)),
    *(arm("TTT-E2E", s, [3.0, 3.5], mode="off") for s in (0, 1)),
)


def test_each_way_to_read_is_a_series_and_naive_reading_has_its_best_rate():
    rows = summaries.readings(CURVES)
    assert set(rows["series"]) == {"no attention", "TTT-naive", "full attention", "TTT-E2E", "TTT-E2E, read without"}
    assert rows.loc[rows["series"] == summaries.NAIVE, "read_rate"].unique().tolist() == [1.0]


def test_the_share_of_the_way_closed_is_paired_by_seed():
    closed = summaries.share_closed(CURVES, "TTT-E2E", last=1)
    assert (closed.estimate, closed.seeds) == (pytest.approx(0.725), 2)
    assert summaries.share_closed(CURVES, summaries.NAIVE, last=1).estimate == pytest.approx(0.25)


def test_means_weigh_stretches_by_their_positions():
    wide = arm("no attention", 0, [0.0, 0.0]).assign(start=[0, 16], stop=[16, 20], loss=[1.0, 2.0])
    means = summaries.over_positions(summaries.readings(wide))
    assert means["loss"].tolist() == pytest.approx([1.2])
    assert summaries.over_positions(summaries.readings(wide), start=16)["loss"].tolist() == [2.0]


def test_differences_are_second_less_first_and_a_missing_one_is_named():
    assert summaries.against(CURVES, "no attention", "full attention", 1).estimate == pytest.approx(-2.0)
    with pytest.raises(
        ValueError, match=r"of series 'Mamba-2' and of 'TTT-E2E'; the table has rows of .*'no attention': 2"
    ):
        summaries.against(CURVES, "Mamba-2", "TTT-E2E")


def test_the_best_learning_rate_is_that_of_the_lowest_loss_as_trained():
    rows = table(
        arm("TTT-E2E", 0, [2.0], mode="on", rate=1e-2), arm("TTT-E2E", 0, [9.0], mode="off", rate=1e-2),
        arm("TTT-E2E", 0, [2.5], mode="on", rate=5e-3), arm("TTT-E2E", 0, [0.1], mode="off", rate=5e-3),
        arm("full attention", 0, [3.0], rate=1e-2), arm("full attention", 0, [1.0], rate=5e-3),
    )  # fmt: skip
    best = summaries.at_best_rate(rows).groupby("name")["train.optim.lr"].unique()
    assert best["TTT-E2E"].tolist() == [1e-2]
    assert best["full attention"].tolist() == [5e-3]


def test_costs_stand_beside_losses():
    rows = summaries.by_series(CURVES).set_index("read as")
    assert rows.loc["TTT-E2E", "loss"] == pytest.approx((4.5 + 4.6) / 4)
    assert rows.loc["TTT-E2E", "seeds"] == 2
    assert rows.loc["TTT-E2E", "training TFLOPs"] == 1
    assert budget({"toy": CURVES}).iloc[0]["KiB kept (most)"] == 2


def test_the_group_with_the_least_memory_stands_beside_the_square_root():
    rows = pd.DataFrame({"chunks": [16] * 4, "group": [0, 1, 4, 16], "peak_megabytes": [9.0, 5.0, 3.0, 6.0]})
    found = summaries.square_root_law(rows).iloc[0]
    assert (found["least memory with groups of"], found["square root"], found["MiB"]) == (4, 4.0, 3.0)
    assert found["MiB without checkpoints"] == 9.0


def test_the_cost_of_a_token_is_the_mean_over_repetitions_by_length():
    rows = [("full attention", 1024, 1.0), ("full attention", 1024, 3.0), ("TTT-E2E", 1024, 9.0)]
    table = pd.DataFrame(rows, columns=["name", "length", "prefill_seconds"])
    assert summaries.token_costs(table, "full attention").to_dict() == {1024: 2.0}
    with pytest.raises(ValueError, match="the table has no Mamba-2; it has full attention, TTT-E2E"):
        summaries.token_costs(table, "Mamba-2")


def test_a_step_costs_so_many_times_the_plain_one():
    rows = [("none", 16, 2.0, 10.0), ("none", 16, 4.0, 10.0), ("exact", 16, 6.0, 15.0), ("exact", 1, 30.0, 15.0)]
    costs = summaries.step_costs(pd.DataFrame(rows, columns=["order", "chunk", "step_seconds", "step_flops"]))
    assert costs["chunk"].tolist() == [16, 1]
    assert costs["times the CPU seconds"].tolist() == pytest.approx([2.0, 10.0])
    assert costs["times the FLOPs"].tolist() == pytest.approx([1.5, 1.5])


def test_answers_are_means_over_seeds_by_distance():
    rows = [
        {"phase": "recall", "questions": "near", "name": "full", "nearest": near, "farthest": far, "exact": share,
         "other_loss": 2.0, "train_tokens": 1000, "train_flops": 3e12}
        for near, far, share in ((3, 12, 1.0), (3, 12, 0.5), (13, 30, 0.0), (13, 30, 0.2))
    ]  # fmt: skip
    found = summaries.answered(pd.DataFrame([*rows, {"phase": "train", "questions": "near", "name": "full"}]))
    assert found[["3 to 12", "13 to 30"]].iloc[0].tolist() == pytest.approx([0.75, 0.1])
    assert found[["other tokens (nats)", "training tokens", "training TFLOPs"]].iloc[0].tolist() == [2.0, 1000, 3.0]
