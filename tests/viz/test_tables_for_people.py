"""Numbers and heads of the tables that people read."""

import numpy as np
import pandas as pd
import pytest

from lablib.viz.tables import number, readable

TABLE = pd.DataFrame({"model.window": [8, 64], "exact": [0.984, 0.224], "low": [0.9, np.nan], "high": [1.0, np.nan]})


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.002, "2e-3"), (0.00823, "8.2e-3"), (0.00999, "0.01"), (0.05, "0.05"), (0.784, "0.78"),
        (2.314, "2.31"), (24.71, "24.7"),
        (151.3, "151"), (12_345.6, "12,346"), (12_345, "12,345"), (np.int64(7), "7"), (-0.42, "-0.42"), (0.0, "0.00"),
        (float("nan"), ""), (None, ""), (True, "yes"), (np.bool_(False), "no"), ("a recipe", "a recipe"),
    ],
)  # fmt: skip
def test_a_number_has_the_digits_that_mean_something(value, said):
    assert number(value) == said


def test_estimate_and_bounds_are_one_cell_and_few_seeds_are_named():
    shown = readable(TABLE)
    assert list(shown.cells) == ["window (tokens)", "exact recall"]
    assert list(shown.cells["exact recall"]) == ["0.98 [0.90, 1.00]", "0.22 (exploratory)"]


def test_all_columns_are_shown_in_words_and_no_index():
    shown = readable(TABLE.assign(cpu_seconds=3.0).set_index("model.window"))
    assert list(shown.cells) == ["window (tokens)", "exact recall", "cpu seconds"]
    assert repr(shown).split()[0] == "window"


def test_at_most_ten_rows_are_shown_and_the_rest_is_counted():
    long = pd.DataFrame({"n": range(14)})
    assert len(readable(long).cells) == 10
    assert "and 4 more rows" in repr(readable(long))
    assert "and 4 more rows" in readable(long)._repr_html_()
    assert len(readable(long, rows=14).cells) == 14


def test_html_is_escaped_and_has_no_colours_of_its_own():
    html = readable(pd.DataFrame({"a": ["<script>"]}))._repr_html_()
    assert "&lt;script&gt;" in html
    assert "color" not in html


def test_the_table_itself_stays_as_it_is():
    before = TABLE.copy()
    readable(TABLE)
    pd.testing.assert_frame_equal(TABLE, before)
