"""The tables of the readers, summed up: recall by length, misses counted beside misses foretold."""

import pandas as pd
import pytest

from lablib.core.stats import wilson
from lablib.longcontext.figures.warmup import length_figure, long_range_figure, misses_figure
from lablib.longcontext.recall import misses, recall_by_length, recall_table, whole_readers, with_reader


@pytest.fixture
def table():
    """Two seeds of a whole and one of a stopped reader, two depths, two lengths; seed 1 misses at the longer one."""
    rows = [
        {
            **{
                "seed": seed,
                "train.steps": 600,
                "more.steps": more,
                "haystack": "text",
                "length": length,
                "store": "own",
            },
            **{"task": task, "depth": depth, "asked": 20, "visible": 20, "questions": 40, "strata": 2},
            **{"missed": (missed := 4 * seed * (length == 4096) * (depth > 0.5)), "exact": 1 - missed / 20},
            **{"pareto_miss": 0.1 * seed, "gaussian_miss": 0.9, "encode_seconds": 1.0, "question_seconds": 0.1},
            **{"peak_megabytes": 9.0, "store_bytes": 288},
        }
        for seed, more in ((0, 600.0), (1, 600.0), (0, float("nan")))
        for length in (64, 4096)
        for task in ("one needle", "six needles, two asked")
        for depth in (0.25, 0.75)
    ]
    return pd.DataFrame(rows)


def test_readers_are_named_by_their_training(table):
    assert list(with_reader(table)["reader"].unique()) == ["whole training", "stopped after 600 steps"]
    assert set(with_reader(table.drop(columns="more.steps"))["reader"]) == {"stopped after 600 steps"}
    assert len(whole_readers(table)) == 16


def test_recall_is_the_mean_over_all_depths(table):
    found = recall_by_length(table).set_index(["reader", "seed", "task", "length"])
    assert len(found) == 12
    assert found.loc[("whole training", 1, "one needle", 4096), "exact"] == pytest.approx(0.9)
    assert found.loc[("whole training", 1, "one needle", 4096), "chunk_recall"] == pytest.approx(0.9)
    assert found.loc[("whole training", 1, "one needle", 64), "exact"] == 1
    assert found.loc[("whole training", 1, "one needle", 64), "questions asked"] == 40
    seeds = recall_table(table).set_index(["reader", "task", "length"])
    assert seeds.loc[("whole training", "one needle", 4096), "exact"] == pytest.approx(0.95)
    assert seeds.loc[("whole training", "one needle", 4096), "lowest seed"] == pytest.approx(0.9)


def test_misses_of_single_needles_stand_beside_the_forecast(table):
    found = misses(table).set_index(["reader", "length", "seed"])
    assert len(found) == 6
    row = found.loc[("whole training", 4096, 1)]
    assert (row["missed"], row["visible"], row["pareto_miss"]) == (4, 40, 0.1)
    assert (row["miss"], row["low"], row["high"]) == tuple(wilson(4, 40))[:3]
    assert row["inside"]
    assert not found.loc[("whole training", 64, 1), "inside"], "10 % foretold, none of 40 missed"
    assert found.loc[("whole training", 64, 0), "inside"]


def test_a_forecast_may_lie_on_either_side_of_what_is_measured(table):
    for foretold, inside in ((0.01, False), (0.1, True), (0.4, False)):
        found = misses(table.assign(pareto_miss=foretold)).set_index(["reader", "length", "seed"])
        assert found.loc[("whole training", 4096, 1), "inside"] == inside


def test_arms_in_which_no_chunk_could_be_found_are_left_out(table):
    table.loc[table["length"] == 64, ["visible", "missed"]] = 0
    assert set(misses(table)["length"]) == {4096}


@pytest.mark.parametrize("draw", [long_range_figure, length_figure, misses_figure])
def test_the_figures_draw_what_is_there_and_say_what_is_missing(draw, table):
    assert "own runs" in draw(table).layout.title.text
    assert not draw(pd.DataFrame()).data


def test_the_picture_of_depth_and_length_holds_the_whole_readers_mean(table):
    figure = long_range_figure(table)
    first = next(trace for trace in figure.data if trace.type == "heatmap")
    assert list(first.x) == ["64", "4K"]
    assert list(first.y) == ["25%", "75%"]
    assert "40 questions a task, 2 depths" in figure.layout.title.text
    assert first.z.tolist() == pytest.approx([[1, 1], [1, 0.9]]) if first.z.ndim == 1 else first.z[1][1] == 0.9


@pytest.mark.parametrize("draw", [long_range_figure, length_figure])
@pytest.mark.parametrize(
    ("lengths", "said"), [([4096], "40 questions a task (10 at 4K)"), ([64, 4096], "10 questions a task, ")]
)
def test_a_figure_says_where_fewer_questions_were_asked(draw, lengths, said, table):
    table.loc[table["length"].isin(lengths), "questions"] = 10
    assert said in draw(table).layout.title.text


@pytest.mark.parametrize("draw", [long_range_figure, length_figure])
def test_a_figure_says_where_fewer_seeds_were_run(draw, table):
    assert "2 seeds" in draw(table).layout.title.text
    fewer = table[(table["length"] == 64) | (table["seed"] == 0)]
    assert "1 to 2 seeds" in draw(fewer).layout.title.text
