"""Laws of a declared figure, on a table with a known answer."""

import re

import numpy as np
import pandas as pd
import pytest

from lablib.core.stats import mean_interval
from lablib.viz.axes import apart
from lablib.viz.chart import Axis, Chart, Curve, Panel, Reference, draw, extremes, facets, figure, torn
from lablib.viz.layout import NARROW, fit

WORDS = "a title that goes on for longer than a narrow column could ever hold, as titles that say something will"


def rows(seeds: int = 6, names: int = 2, places: int = 4) -> pd.DataFrame:
    """Line i has the mean i + 1 + place, and its seeds lie symmetrically about it."""
    found = [
        {"name": f"line {i}", "x": 2.0**place, "y": i + 1 + place + 0.1 * (seed - (seeds - 1) / 2), "seed": seed}
        for i in range(names)
        for place in range(places)
        for seed in range(seeds)
    ]
    return pd.DataFrame(found).assign(store="recorded")


X, Y = Axis("x", "tokens", "log"), Axis("y", "loss (nats)")


def chart(table: pd.DataFrame, title: str = "It falls", **panel) -> Chart:
    return Chart(panels=[Panel(rows=table, **({"x": X, "y": Y, "by": "name"} | panel))], title=title)


def means(drawn) -> dict[str, object]:
    return {t.name: t for t in drawn.data if t.mode in ("lines", "lines+markers") and t.fill is None}


@pytest.mark.parametrize("places", [4, 12, 40])
def test_a_line_goes_through_the_means_and_every_seed_is_a_dot(places):
    table = rows(places=places)
    drawn = draw(chart(table))
    for name, trace in means(drawn).items():
        mine = table[table["name"] == name]
        np.testing.assert_allclose(trace.y, mine.groupby("x")["y"].mean())
        dots = next(t for t in drawn.data if t.legendgroup == name and t.mode == "markers")
        assert sorted(zip(dots.customdata, dots.y, strict=True)) == sorted(zip(mine["seed"], mine["y"], strict=True))


def test_of_five_seeds_and_more_the_interval_is_student_s():
    trace = means(draw(chart(rows(seeds=5))))["line 0"]
    expected = mean_interval(rows(seeds=5).query("name == 'line 0' and x == 1")["y"])
    assert trace.y[0] + trace.error_y.array[0] == pytest.approx(expected.high)
    assert trace.y[0] - trace.error_y.arrayminus[0] == pytest.approx(expected.low)


@pytest.mark.parametrize(
    ("seeds", "said"),
    [(6, "mean and 95 % t interval, dots are seeds"), (3, "exploratory: mean and range"), (1, "explor")],
)
def test_the_source_says_how_many_seeds_and_what_the_bars_are(seeds, said):
    source = draw(chart(rows(seeds=seeds))).layout.meta["source"]
    assert source.startswith(f"recorded runs, {seeds} seed")
    assert said in source
    assert ("interval" in source) == (seeds >= 5)


def test_of_fewer_than_five_seeds_the_range_is_drawn():
    trace = means(draw(chart(rows(seeds=3))))["line 0"]
    assert trace.error_y.array[0] == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["lines", "bars", "plane", "points"])
def test_all_marks_lie_in_the_picture(kind):
    table = rows(places=12)
    panel = {"kind": kind}
    if kind == "bars":
        panel |= {"x": Axis("y"), "y": Axis("name"), "by": ""}
    drawn = draw(chart(table, **panel))
    low, high = drawn.layout.xaxis.range if kind == "bars" else drawn.layout.yaxis.range
    assert low <= table["y"].min() < table["y"].max() <= high
    assert (table["y"].max() - table["y"].min()) / (high - low) > (0.4 if kind == "bars" else 0.6)


def test_logarithmic_axes_carry_their_numbers():
    drawn = draw(chart(rows(places=12)))
    assert list(drawn.layout.xaxis.ticktext) == ["1", "10", "100", "1,000"]
    assert all(t > 0 for t in drawn.layout.xaxis.tickvals)


def test_lines_of_one_panel_are_named_at_their_ends_and_none_lies_on_another():
    drawn = draw(chart(rows(names=6)))
    labels = [note for note in drawn.layout.annotations if str(note.text).startswith("line")]
    colours = {name: trace.line.color for name, trace in means(drawn).items()}
    assert {note.text: note.font.color for note in labels} == colours
    assert not drawn.layout.showlegend
    heights = sorted(note.y * drawn.layout.meta["plot"] for note in labels)
    assert min(np.diff(heights)) >= 16 - 1e-6


def test_places_that_are_free_stay_and_those_that_touch_move_apart_evenly():
    assert apart({"a": 0.0, "b": 100.0}, {"a": 16.0, "b": 16.0}, 300) == {"a": 0.0, "b": 100.0}
    assert apart({"a": 50.0, "b": 52.0}, {"a": 16.0, "b": 16.0}, 300) == {"a": 43.0, "b": 59.0}
    assert apart({"a": 98.0, "b": 99.0}, {"a": 16.0, "b": 16.0}, 100) == {"a": 76.0, "b": 92.0}


def test_several_panels_have_a_legend_with_each_name_once():
    drawn = draw(Chart(panels=facets(rows(), "seed", [0, 1], "seed {}", x=X, y=Y, by="name"), title="Two"))
    assert [t.name for t in drawn.data if t.showlegend] == ["line 0", "line 1"]
    heads = [note.text for note in drawn.layout.annotations if note.name == "head"]
    assert heads == ["seed 0", "seed 1"]
    assert drawn.layout.yaxis.range == drawn.layout.yaxis2.range, "facets share their scale"


def test_what_is_faint_is_drawn_faint_and_still_named():
    drawn = draw(chart(rows(names=3), faint=["line 1"]))
    assert {name for name, trace in means(drawn).items() if trace.opacity < 1} == {"line 1"}
    assert "line 1" in {note.text for note in drawn.layout.annotations}


def test_a_reference_is_drawn_and_named_at_its_value():
    drawn = draw(chart(rows(), references=[Reference(8, "trained", "x"), Reference(2, "chance")]))
    named = {note.text: note for note in drawn.layout.annotations}
    assert named["trained"].x == pytest.approx(np.log10(8)), "notes on a logarithmic axis take the logarithm"
    assert named["chance"].y == 2
    assert {(line.x0, line.x1) for line in drawn.layout.shapes} == {(8, 8), (0, 1)}


def test_own_runs_are_drawn_over_the_others():
    own = rows(seeds=1).assign(store="own")
    drawn = draw(chart(rows(), own=own))
    assert next(t for t in drawn.data if t.name == "your own runs").marker.symbol == "diamond-open"
    assert "open diamonds: your own runs" in drawn.layout.meta["source"]


def test_a_curve_lies_where_it_was_put():
    drawn = draw(chart(rows(), kind="points", curves=[Curve([1, 8], [1, 2], "the roof")]))
    assert next(t for t in drawn.data if t.name == "the roof").y == (1, 2)


def test_a_heat_map_holds_the_means():
    table = rows(names=1).assign(depth=0.5, share=lambda t: t["y"] / 10)
    panel = Panel(rows=table, kind="heat", x=Axis("x", kind="length"), y=Axis("depth"), by="share")
    drawn = draw(Chart(panels=[panel], title="Heat"))
    np.testing.assert_allclose(drawn.data[0].z[0], table.groupby("x")["share"].mean())


def test_the_bars_of_a_table_end_at_the_means_and_begin_at_zero():
    drawn = draw(chart(rows(), kind="bars", x=Y, y=Axis("name"), by=""))
    bar = next(t for t in drawn.data if t.type == "bar")
    np.testing.assert_allclose(bar.x, rows().groupby("name")["y"].mean())
    assert drawn.layout.xaxis.range[0] == 0


def test_no_bar_is_drawn_where_the_axis_does_not_begin_at_zero():
    drawn = draw(chart(rows(), kind="bars", x=Axis("y", range=(1, 7)), y=Axis("name"), by=""))
    assert not [t for t in drawn.data if t.type == "bar"]


def test_a_plane_that_is_mostly_empty_is_torn_and_loses_no_row():
    table = rows(names=5)
    table["cost"] = table["name"].map(dict(zip(table["name"].unique(), [1.0, 1.1, 1.2, 9.0, 9.1], strict=True)))
    panel = Panel(rows=table, x=Axis("cost", "cost"), y=Y, by="name", kind="plane")
    parts, widths = torn(panel)
    assert [set(part.rows["name"]) for part in parts] == [{"line 0", "line 1", "line 2"}, {"line 3", "line 4"}]
    assert sum(widths) == 1
    even = Panel(rows=table.assign(cost=table["y"]), x=Axis("cost"), y=Y, by="name", kind="plane")
    assert torn(even) == ([even], None)


def test_the_title_of_extremes_names_the_highest_and_the_lowest():
    assert extremes(rows(), "name", "y", "Loss") == "Loss. line 1: 3.50; line 0: 2.50"
    assert extremes(rows(), "name", "y", "Loss", low_first=True) == "Loss. line 0: 2.50; line 1: 3.50"


def test_the_alternative_text_has_the_title_and_the_numbers_at_the_ends():
    assert draw(chart(rows())).layout.meta["alt"] == (
        "It falls. loss by tokens: line 0 1.00 at 1 to 4.00 at 8; line 1 2.00 at 1 to 5.00 at 8."
    )


@figure
def some_figure(table: pd.DataFrame) -> Chart | None:
    """What it shows."""
    return None if "y" not in table else chart(table)


def test_an_empty_table_and_one_without_what_is_drawn_say_how_to_make_it():
    for table in (pd.DataFrame(), pd.DataFrame({"x": [1]})):
        drawn = some_figure(table)
        assert not drawn.data
        assert "run the experiment" in drawn.layout.annotations[0].text


def test_the_caption_is_what_the_function_says_of_itself():
    assert some_figure(rows()).layout.meta["caption"] == "What it shows."


@pytest.mark.parametrize("width", [NARROW, 900])
def test_the_head_is_folded_for_the_width_and_the_plot_keeps_its_height(width):
    drawn = fit(draw(chart(rows(), title=WORDS)), width)
    lines = drawn.layout.title.text.split("<br>")
    assert (sum("<b>" in line for line in lines) == 1) == (width == 900)
    assert WORDS in " ".join(re.sub(r"<[^>]+>", " ", drawn.layout.title.text).split())
    plot = drawn.layout.height - drawn.layout.margin.t - drawn.layout.margin.b
    assert plot == pytest.approx(drawn.layout.meta["plot"], abs=1)


def test_a_figure_has_no_ground_of_its_own_and_offers_no_way_to_a_cloud():
    layout = draw(chart(rows())).layout
    assert layout.paper_bgcolor == layout.plot_bgcolor == "rgba(0,0,0,0)"
    assert "sendChartToCloud" in layout.modebar.remove
