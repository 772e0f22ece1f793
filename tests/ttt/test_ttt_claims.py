"""What notebook 03 says holds in the recorded tables."""

import pytest

from lablib.ttt import summaries
from lablib.ttt.experiments.context import context, rates
from lablib.ttt.experiments.cost import steps
from lablib.ttt.summaries import NAIVE

FIRST, END = "TTT-E2E, first order", 1024


# ---- context


@pytest.fixture(scope="module")
def peers():
    return context.recorded()


@pytest.fixture(scope="module")
def above(peers):
    """Nats above the best possible, by way to read and stretch, mean over seeds."""
    rows = summaries.readings(peers)
    return rows.assign(above=rows["loss"] - rows["best"]).pivot_table(index="series", columns="stop", values="above")


def test_all_have_one_size_and_five_seeds(peers):
    assert peers.groupby("name")["seed"].nunique().eq(5).all()
    sizes = peers.groupby("name")["parameters"].first()
    assert sizes.max() < 1.02 * sizes.min()


def test_each_was_trained_at_the_best_rate_of_its_sweep(peers):
    swept = summaries.at_best_rate(rates.recorded()).groupby("name")["train.optim.lr"].first()
    used = peers.groupby("name")["train.optim.lr"].first()
    assert all(used[name] == rate for name, rate in swept.items())


def test_the_window_alone_is_flat(peers):
    rows = summaries.readings(peers).query("series == 'sliding window' and start >= 16")
    losses = rows.groupby("start")["loss"].mean()
    assert losses.max() - losses.min() < 0.03


def test_the_inner_loop_goes_on_learning_to_the_end(peers, above):
    mine = above.loc["TTT-E2E"]
    assert mine.is_monotonic_decreasing
    assert mine[2048] < 0.05
    assert summaries.against(peers, "sliding window", "TTT-E2E", END).high < -0.6
    assert summaries.against(peers, NAIVE, "TTT-E2E", END).high < -0.3


def test_full_attention_and_key_value_binding_rise_beyond_the_training_length(peers, above):
    for name in ("full attention", "TTT-KVB", "hybrid 5:1"):
        assert above.loc[name, 2048] > above.loc[name, 256]
        assert summaries.against(peers, name, "TTT-E2E", END).high < 0
    assert above.loc["full attention", 256] < above.loc["TTT-E2E", 256]


def test_mamba_is_as_good_at_the_end_and_better_before(peers):
    difference = summaries.against(peers, "Mamba-2", "TTT-E2E", END)
    assert difference.low < 0 < difference.high
    assert summaries.against(peers, "Mamba-2", "TTT-E2E", 128, 256).low > 0
    assert summaries.against(peers, "Gated DeltaNet", "TTT-E2E", END).high < 0


def test_first_order_costs_little_here(peers):
    late, early = (summaries.against(peers, FIRST, "TTT-E2E", *part) for part in ((END,), (128, 256)))
    assert -0.02 < late.low < late.high < 0
    assert -0.03 < early.low < early.high < 0


# ---- cost


def test_a_meta_step_of_chunks_of_16_costs_less_than_two_and_a_half_plain_ones():
    costs = summaries.step_costs(steps.recorded()).set_index(["order", "chunk"])
    assert costs.loc[("exact", 16), "times the CPU seconds"] < 2.5
    assert costs["times the FLOPs"].max() < 1.3
