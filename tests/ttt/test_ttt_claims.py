"""What notebook 03 says holds in the recorded tables."""

import pytest

from lablib.ttt import summaries
from lablib.ttt.experiments.ablations import ablations
from lablib.ttt.experiments.context import context, ladder, rates, sources
from lablib.ttt.experiments.cost import cost, memory, steps
from lablib.ttt.experiments.recall import ANYWHERE, NEAR, capacity, recall, taught
from lablib.ttt.experiments.toy import controls, on_bytes, toy
from lablib.ttt.summaries import NAIVE

FIRST, END = "TTT-E2E, first order", 1024


# ---- the toy


@pytest.fixture(scope="module")
def played():
    return summaries.at_best_rate(toy.recorded())


def late(table) -> dict[str, float]:
    """Mean loss over the last eight positions, by way to read."""
    return summaries.by_series(table, start=56).set_index("read as")["loss"].to_dict()


def test_five_seeds_of_each_curve(played):
    assert played.groupby("name")["seed"].nunique().eq(5).all()


def test_the_inner_loop_closes_most_of_the_way_and_naive_reading_less_than_half(played):
    assert summaries.share_closed(played, "TTT-E2E, b=1").low > 0.85
    assert summaries.share_closed(played, "TTT-E2E, b=16").low > 0.8
    assert summaries.share_closed(played, NAIVE).high < 0.5


def test_the_bigram_is_flat_and_chunks_of_16_come_down_in_steps(played):
    means = summaries.readings(played).pivot_table(index="start", columns="series", values="loss")
    assert means["no attention"].iloc[1:].std() < 0.03
    assert means["TTT-E2E, b=16"].iloc[2:16].std() < 0.03
    assert means["TTT-E2E, b=16"].iloc[15] - means["TTT-E2E, b=16"].iloc[16] > 0.8


def test_left_alone_the_weights_are_a_place_to_begin_from(played):
    losses = late(played)
    assert losses["TTT-E2E, b=1, read without"] > losses["no attention"] + 0.1
    assert losses["TTT-E2E, b=16, read without"] > losses["no attention"]


def test_controls():
    table = controls.recorded()
    losses, rates_learnt = late(table), table.groupby("name")["trained_rate"].mean()
    assert losses["ascent, b=16"] == pytest.approx(losses["ascent, b=16, read without"], abs=1e-3)
    assert abs(rates_learnt["ascent, b=16"]) < 1e-3
    assert abs(losses["first order, b=16"] - losses["exact, b=16"]) < 0.02
    assert 0 < losses["not clipped, b=1"] - losses["clipped, b=1"] < 0.2


def test_on_bytes_the_order_is_the_same_and_the_way_short():
    table = on_bytes.recorded()
    assert table.groupby("name")["seed"].nunique().eq(3).all()
    one, sixteen, naive = (summaries.share_closed(table, name) for name in ("TTT-E2E, b=1", "TTT-E2E, b=16", NAIVE))
    assert 0 < naive.high < sixteen.low < sixteen.high < one.low < one.high < 0.3


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
    early = summaries.against(peers, "full attention", "TTT-E2E", 16, 256)
    assert early.low < 0 < early.high < 0.05
    assert summaries.against(peers, "full attention", "TTT-E2E", 128, 256).low > 0


def test_mamba_is_as_good_at_the_end_and_better_before(peers):
    difference = summaries.against(peers, "Mamba-2", "TTT-E2E", END)
    assert difference.low < 0 < difference.high
    assert summaries.against(peers, "Mamba-2", "TTT-E2E", 128, 256).low > 0
    delta = summaries.against(peers, "Gated DeltaNet", "TTT-E2E", 32, END)
    assert delta.low < 0 < delta.high
    assert summaries.against(peers, "Gated DeltaNet", "TTT-E2E", END).high < 0


def test_full_attention_and_the_hybrid_have_three_times_the_tokens_and_all_others_the_same(peers):
    tokens = peers.groupby("name")["train_tokens"].first()
    most = {"full attention", "hybrid 5:1"}
    assert set(tokens[tokens == 3 * tokens["TTT-E2E"]].index) == most
    assert tokens.drop(most).nunique() == 1


def test_first_order_costs_little_here(peers):
    late, early = (summaries.against(peers, FIRST, "TTT-E2E", *part) for part in ((END,), (128, 256)))
    assert -0.02 < late.low < late.high < 0
    assert -0.03 < early.low < early.high < 0


# ---- from binding to end to end


def test_the_loss_that_counts_is_the_step_that_counts():
    rungs = ladder.recorded()
    assert rungs.groupby("name")["seed"].nunique().eq(5).all()
    near, far, simple = (0, 256), (256,), "TTT-KVB, simplified"
    gain, kept = (summaries.against(rungs, "sliding window", name, *near) for name in ("TTT-KVB", simple))
    assert gain.high < -0.25
    assert kept.high < 0
    assert abs(kept.estimate) < 0.5 * abs(gain.estimate)
    assert summaries.against(rungs, "sliding window", simple, *far).low > 0
    for part in (near, far):
        assert summaries.against(rungs, "TTT-KVB", simple, *part).low > 0.1
        assert summaries.against(rungs, simple, "TTT-E2E, all blocks", *part).high < -0.1
        last = summaries.against(rungs, "TTT-E2E, all blocks", "TTT-E2E", *part)
        assert last.low < 0 < last.high
    assert summaries.against(rungs, "TTT-KVB", "TTT-E2E", *near).high < -0.15
    cost = rungs.groupby("name")["train_flops"].first()
    assert cost["TTT-E2E"] < 0.7 * cost["TTT-E2E, all blocks"]


# ---- on real bytes


def test_on_sources_reading_on_is_worth_most_to_the_inner_loop():
    table = sources.recorded()
    assert table.groupby("name")["seed"].nunique().eq(5).all()
    losses = summaries.readings(table).pivot_table(index="series", columns="stop", values="loss")
    mine, window = losses.loc["TTT-E2E"], losses.loc["sliding window"]
    assert mine.is_monotonic_decreasing
    assert losses[[256, 512, 1024]].idxmin().eq("TTT-E2E").all()
    assert summaries.against(table, "sliding window", "TTT-E2E", 0, 16).high < 0, "before the first step"
    assert (losses.loc["TTT-E2E, read without"] < window).all()
    gains = (window - losses.loc[NAIVE]) / (window - mine)
    assert 0.3 < gains[[256, 512, 1024]].min() < gains[[256, 512, 1024]].max() < 0.6
    attention = "full attention"
    assert summaries.against(table, attention, "TTT-E2E", 0, 16).low > 0
    level = summaries.against(table, attention, "TTT-E2E", 0, 256)
    assert level.low < 0 < level.high
    assert summaries.against(table, attention, "TTT-E2E", 256).high < -0.3


# ---- ablations


def test_what_each_choice_of_the_inner_loop_is_worth():
    table = ablations.recorded()
    assert table.groupby("name")["seed"].nunique().eq(3).all()
    more = {name: summaries.against(table, "as it is", name) for name in table["name"].unique() if name != "as it is"}
    assert all(more[name].high < 0 for name in ("two fast blocks", "chunk 8", "chunk 4"))
    worse = ("rate fixed at 0.3", "rate fixed at 1", "window 64, chunk 64", "a smaller fast MLP", "a larger fast MLP")
    assert all(more[name].low > 0 for name in worse)
    assert all(abs(more[name].estimate) < 2e-3 for name in ("window 64", "not clipped"))
    assert max(abs(change.estimate) for change in more.values()) < 0.05


# ---- what was said once


@pytest.fixture(scope="module")
def answers():
    rows = recall.recorded().query("phase == 'recall'")
    return rows.pivot_table(index=["questions", "name"], columns="nearest", values="exact")


def test_who_is_asked_nearby_remembers_nothing_from_afar(answers):
    near = answers.loc[NEAR]
    assert near[3].min() > 0.9
    assert 0.25 < near[13].min() < near[13].max() < 0.5, "inside the window, and seldom"
    assert near[[31, 61, 121]].max().max() < 0.15


def test_the_better_reader_does_not_remember_better(answers):
    rows = recall.recorded().query("phase == 'recall' and questions == @NEAR")
    losses = rows.groupby("name")["other_loss"].mean()
    assert losses["TTT-E2E"] < losses["full attention"] - 0.05
    assert answers.loc[(NEAR, "TTT-E2E"), 121] < 0.1


def test_asked_from_afar_the_outer_loop_learns_to_store(answers):
    anywhere = answers.loc[ANYWHERE]
    assert anywhere.loc["TTT-E2E", [61, 121]].min() > 0.95
    assert anywhere.loc["TTT-E2E", 3] < 0.3
    for nearest, farthest in ((3, 12), (13, 30), (31, 60)):  # a fact is learnt when a chunk has ended behind it
        assert anywhere.loc["TTT-E2E", nearest] == pytest.approx((nearest + farthest) / 2 / 64, abs=0.05)
    assert anywhere.loc[["full attention", "sliding window"]].max().max() < 0.1


def test_once_all_have_learnt_to_look_weights_remember_as_attention_does():
    rows = taught.recorded().query("phase == 'recall'")
    seeds = rows.pivot_table(index=["name", "seed"], columns="nearest", values="exact")
    assert seeds.loc["TTT-E2E"].min().min() > 0.8
    assert seeds.loc["TTT-E2E"][[61, 121]].min().min() > 0.98
    assert (seeds.loc["full attention"].min(axis=1) > 0.99).sum() == 4
    assert seeds.loc["sliding window"][121].max() < 0.1
    assert seeds.loc["sliding window"][3].min() > 0.7


def test_few_fast_weights_hold_few_facts_and_more_hold_all_that_there_are():
    rows = capacity.recorded().query("phase == 'recall'")
    assert rows.groupby("fast_weights")["seed"].nunique().eq(3).all()
    assert rows["parameters"].max() < 1.02 * rows["parameters"].min()
    shares = rows.pivot_table(index="fast_weights", columns="facts", values="exact")
    assert shares.loc[384].is_monotonic_decreasing
    assert shares.loc[384, 16] < 0.6 * shares.loc[384, 1]
    assert shares.loc[[1536, 4896]].min().min() > 0.8
    assert (shares.loc[[1536, 4896], 1] - shares.loc[[1536, 4896], 16]).max() < 0.05


# ---- cost


def test_a_meta_step_of_chunks_of_16_costs_less_than_two_and_a_half_plain_ones():
    costs = summaries.step_costs(steps.recorded()).set_index(["order", "chunk"])
    assert costs.loc[("exact", 16), "times the CPU seconds"] < 2.5
    assert costs["times the FLOPs"].max() < 1.3


def test_a_token_costs_the_same_wherever_it_stands_and_full_attention_more_and_more():
    means = cost.recorded().groupby(["name", "length"])[["prefill_seconds", "decode_seconds"]].mean()
    prefill, decode = means["prefill_seconds"], means["decode_seconds"]
    assert prefill["TTT-E2E", 16_384] < 1.15 * prefill["TTT-E2E", 1024]
    assert prefill["full attention", 16_384] > 8 * prefill["full attention", 1024]
    assert decode["full attention", 131_072] > 20 * decode["TTT-E2E", 131_072]


def test_checkpoints_take_memory_to_the_square_root():
    least = summaries.square_root_law(memory.recorded()).set_index("chunks")
    groups = least["least memory with groups of"]
    assert ((groups >= least["square root"] / 4) & (groups <= 2 * least["square root"])).all()
    grown = least.loc[256] / least.loc[16]
    assert grown["MiB without checkpoints"] > 14  # chunks are sixteen times as many
    assert grown["MiB"] < 7
    assert least.loc[256, "MiB"] < 0.1 * least.loc[256, "MiB without checkpoints"]
