"""The template of the figures: what is long is broken into lines, and the lines get their room."""

import plotly.graph_objects as go
import pytest
from plotly.subplots import make_subplots

from lablib.viz.style import PANEL, SOURCE, TITLE, dress

WORDS = "a title that goes on for longer than a narrow column could ever hold, as titles that say something will"


def lines_of(figure: go.Figure) -> list[str]:
    return figure.layout.title.text.split("<br>")


@pytest.mark.parametrize(("title", "source"), [("short", "own runs"), (WORDS, "own runs"), (WORDS, WORDS)])
def test_no_line_is_longer_than_a_narrow_column_and_no_word_is_lost(title, source):
    lines = lines_of(dress(go.Figure(), title=title, source=source))
    titles = [line for line in lines if "<span" not in line]
    sources = [line.partition(">")[2].removesuffix("</span>") for line in lines if "<span" in line]
    assert all(len(line) <= TITLE for line in titles)
    assert all(len(line) <= SOURCE for line in sources)
    assert (" ".join(titles), " ".join(sources)) == (title, source)


def test_more_lines_make_the_figure_higher_and_leave_the_plot_its_height():
    short = dress(go.Figure(), title="short", source="own runs").layout
    long = dress(go.Figure(), title=WORDS, source=WORDS).layout
    assert long.height > short.height == 430
    assert long.height - long.margin.t == short.height - short.margin.t


def test_titles_of_panels_are_broken_and_notes_on_data_are_not():
    figure = make_subplots(cols=2, subplot_titles=["trained on:<br>two needles that share a token", "plain"])
    figure.add_annotation(x=1, y=1, text="a note that lies on the data and stays whole")
    dress(figure, title="short", source="own runs")
    first, second, note = (each.text for each in figure.layout.annotations)
    assert first.split("<br>")[0] == "trained on:"
    assert all(len(line) <= PANEL for line in first.split("<br>"))
    assert (second, note) == ("plain", "a note that lies on the data and stays whole")


def test_a_figure_offers_no_way_to_send_it_to_a_cloud():
    assert "sendChartToCloud" in dress(go.Figure(), title="short", source="own runs").layout.modebar.remove
