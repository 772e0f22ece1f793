"""Explorers are driven as a person would: by setting a slider's value."""

import time

import numpy as np
import plotly.graph_objects as go
import pytest

from lablib.longcontext.explore import (
    BY_WINDOW,
    FUTURE,
    NEEDLE,
    RETRIEVED,
    attention_pattern,
    chunk_scores,
    pairs_explorer,
    pattern_explorer,
)
from lablib.viz.widgets import NOT_ALIVE, Explorer, Fit, Prediction, show


def test_moving_a_slider_changes_the_figure():
    explorer = Explorer(lambda n: go.Figure(go.Scatter(y=np.arange(n))), {"n": [1, 2, 3]})
    explorer.sliders["n"].value = 3
    assert list(explorer.figure.data[0].y) == [0, 1, 2]


@pytest.mark.parametrize("build", [pattern_explorer, pairs_explorer])
def test_every_value_of_every_slider_draws_and_answers_in_time(build):
    explorer = build()
    spent = []
    for slider in explorer.sliders.values():
        for _, value in slider._options_full:
            begin = time.process_time()
            slider.value = value
            spent.append(time.process_time() - begin)
        expected = explorer.draw(**explorer.values)
        assert explorer.figure.layout.title.text == expected.layout.title.text
        for shown, drawn in zip(explorer.figure.data, expected.data, strict=True):
            name = "z" if isinstance(drawn, go.Heatmap) else "y"
            np.testing.assert_array_equal(np.asarray(shown[name], float), np.asarray(drawn[name], float))
    assert len(spent) > 5


def test_moving_a_slider_moves_the_ranges_too():
    explorer = Explorer(lambda n: go.Figure(go.Scatter(y=[1]), {"yaxis": {"range": [0, n]}}), {"n": [1, 2]})
    explorer.sliders["n"].value = 2
    assert explorer.figure.layout.yaxis.range == (0, 2)


def test_the_pattern_of_an_explorer_is_that_of_the_operators():
    """By hand: token 20 reads its window, and of the complete chunks the one of the needle and the best other."""
    scores = chunk_scores(24, 4)
    pattern = attention_pattern(24, 3, 4, 2, scores)[20]
    best = set(np.argsort(-scores[20, :5])[:2])
    expected = [RETRIEVED * (key // 4 in best) + BY_WINDOW * (key > 17) if key <= 20 else FUTURE for key in range(24)]
    assert list(pattern) == expected
    assert NEEDLE // 4 in best


def test_the_figure_of_an_explorer_follows_the_width_of_its_place():
    explorer = pairs_explorer()
    assert explorer.figure._config["responsive"]
    assert any(isinstance(part, Fit) for part in explorer.box.children)


@pytest.fixture
def displayed(monkeypatch) -> list:
    """What a notebook would show, in order."""
    shown: list = []
    monkeypatch.setattr("lablib.viz.widgets.display", shown.append)
    return shown


def test_with_a_person_an_explorer_is_sliders_over_a_figure(displayed):
    pairs_explorer().show(interactive=True)
    box, text = displayed
    assert isinstance(box.children[-1], go.FigureWidget)
    assert text.data.startswith("*Query-key pairs")


def ask(interactive):
    Prediction("Which?", ["one", "two"], interactive=interactive)


@pytest.mark.parametrize("display", [lambda interactive: pairs_explorer().show(interactive=interactive), ask])
def test_beside_a_widget_stands_what_to_do_where_it_is_lost(display, displayed):
    display(True)
    box, text = displayed
    assert NOT_ALIVE in text.data
    assert "run this cell again" in NOT_ALIVE.lower()
    assert any(isinstance(part, Fit) for part in box.children)  # which hides the sentence while the widget is there
    bundle = box._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert "(children=" not in bundle["text/plain"]
    displayed.clear()
    display(False)
    assert NOT_ALIVE not in displayed[-1].data


def test_without_a_person_an_explorer_is_a_plain_figure_with_its_caption(displayed):
    pairs_explorer().show(interactive=False)
    figure, text = displayed
    assert type(figure) is go.Figure
    assert text.data == f"*{figure.layout.meta['caption']}*"


def test_a_figure_is_shown_with_its_caption_once(displayed):
    show(go.Figure(layout={"meta": {"caption": "What it shows."}}))
    assert [getattr(each, "data", None) for each in displayed[1:]] == ["*What it shows.*"]


def test_a_prediction_is_none_until_chosen_and_unattended():
    asked = Prediction("Which?", ["one", "two"], interactive=True)
    assert asked.value is None
    asked.radio.value = "two"
    assert "you predicted “two”" in asked.against("one")
    assert "as you predicted" in asked.against("two")
    alone = Prediction("Which?", ["one", "two"], interactive=False)
    assert alone.value is None
    assert "No prediction" in alone.against("one")


def test_an_outcome_outside_the_options_is_refused():
    with pytest.raises(ValueError, match="none of the options"):
        Prediction("Which?", ["one"], interactive=False).against("three")
