"""What notebook 07 says holds in the recorded tables."""

import pytest

from lablib.speed import summaries
from lablib.speed.experiments.bench import bench
from lablib.speed.experiments.compiled import KERNELS, compiled

WINDOW, CHUNKS, CHOICE = "sliding window", "chosen chunks", "selection"
FORWARD, BOTH = "forward", "forward and backward"


@pytest.fixture(scope="module")
def timed():
    return bench.recorded()


def over_causal(timed, operator: str, mode: str, tokens: int):
    return summaries.over(timed, "causal SDPA", operator=operator, mode=mode, tokens=tokens)


@pytest.mark.parametrize("mode", [FORWARD, BOTH])
def test_blocks_win_where_the_window_is_short_and_the_mask_nowhere(timed, mode):
    ratios = {tokens: over_causal(timed, WINDOW, mode, tokens) for tokens in (1024, 4096, 16_384)}
    assert ratios[1024]["banded"] > 1 > ratios[4096]["banded"] > ratios[16_384]["banded"]
    assert all(ratios[tokens]["SDPA with a dense mask"] > 1 for tokens in (1024, 4096))
    assert all(ratios[tokens]["the definition"] > 1 for tokens in (1024, 4096))


def test_blocks_stay_within_a_few_times_the_floor(timed):
    rows = summaries.beside_the_floor(timed).query("provider == 'banded'")
    assert len(rows) == 6
    assert rows["times the floor"].max() < 4


def test_chosen_chunks_lose_on_a_cpu_with_less_arithmetic(timed):
    assert all(over_causal(timed, CHUNKS, FORWARD, tokens)["gathered"] > 2 for tokens in (1024, 4096, 16_384))
    short = over_causal(timed, CHUNKS, FORWARD, 1024)
    assert short["gathered"] > 5 * short["the definition"]
    shape = timed.query("operator == @CHUNKS and mode == @FORWARD and `shape.time` == 16384").iloc[0]
    causal = 4 * shape["shape.heads"] * shape["shape.dim"] * 16_384 * 16_385 / 2
    assert shape["flops"] < causal / 8


def test_the_selection_is_little_beside_the_reading_and_the_plain_matrix_faster(timed):
    medians = timed.groupby(["operator", "mode", "provider", "shape.time"])["seconds"].median()
    for tokens in (1024, 4096, 16_384):
        ours = medians[CHOICE, FORWARD, "block by block", tokens]
        assert ours < 0.05 * medians[CHUNKS, FORWARD, "gathered", tokens]
        assert medians[CHOICE, FORWARD, "the definition", tokens] < ours


def test_whoever_is_timed_was_right(timed):
    assert timed.loc[timed["same_work"], "error"].max() < 1e-5
    assert timed.groupby(["operator", "provider", "mode", "shape.time"])["seed"].nunique().eq(3).all()


def test_every_kernel_uses_tensor_cores_and_none_spills():
    made = compiled.recorded()
    assert set(made["kernel"]) == set(KERNELS)
    assert (made["wgmma"] + made["mma"] > 0).all()
    assert not made["stack"].any()
    facts = ["wgmma", "mma", "registers", "shared", "ptx_lines"]
    assert made.groupby(["kernel", "dim"])[facts].nunique().eq(1).all(axis=None), "compiling is deterministic"
