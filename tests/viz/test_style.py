"""Colours read on white and on dark and are told apart; numbers on axes are those that people say."""

import itertools

import numpy as np
import pytest

from lablib.viz.style import (
    COLOURS,
    FAMILIES,
    TEXT,
    colours_of,
    fold,
    listing,
    log_ticks,
    ramp,
    short,
    spell,
    spell_length,
    text_width,
)

GROUNDS = ("#FFFFFF", "#111111")


def contrast(first: str, second: str) -> float:
    """The contrast ratio of two colours, 1 to 21 (WCAG 2.2, 1.4.3)."""
    low, high = sorted(luminance(colour) for colour in (first, second))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def test_contrast_is_that_of_wcag():
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.01)  # the example of the standard's notes
    assert contrast("#777777", "#777777") == 1


@pytest.mark.parametrize("ground", GROUNDS)
def test_text_reads_on_white_and_on_dark(ground):
    """No grey has more than 4.35 on both at once: sqrt(21 / 1.11) for the lighter of the two darks."""
    assert contrast(TEXT, ground) >= 4.3


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("colour", sorted({*COLOURS, *FAMILIES.values(), *ramp(7)}))
def test_lines_are_seen_on_white_and_on_dark(colour, ground):
    """3 : 1 is what WCAG 1.4.11 asks of graphics."""
    assert contrast(colour, ground) >= 3


def lab(colour: str) -> np.ndarray:
    """CIELAB of a hex colour, by the definition."""
    c = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    f = np.where((r := xyz / [0.9505, 1, 1.089]) > 0.008856, np.cbrt(r), 7.787 * r + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_colours_of_a_figure_are_told_apart():
    distances = [np.linalg.norm(lab(a) - lab(b)) for a, b in itertools.combinations(COLOURS, 2)]
    assert min(distances) > 20  # 2.3 is just noticeable


def test_no_two_names_of_a_figure_get_one_colour():
    names = ["SWA + HSA", "something", *(f"recipe {i}" for i in range(12))]
    found = colours_of(names, {"something": "#123456"})
    assert found["SWA + HSA"] == FAMILIES["SWA + HSA"]
    assert found["something"] == "#123456"
    assert len(set(found.values())) == len(names)


@pytest.mark.parametrize("number", range(1, 10))
def test_the_ramp_has_a_colour_a_window(number):
    assert len(set(ramp(number))) == number


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.03, 1.2, [0.05, 0.1, 0.2, 0.5, 1]),
        (0.9, 11, [1, 2, 5, 10]),
        (1e-4, 1.3, [1e-4, 1e-3, 1e-2, 0.1, 1]),
        (2.1, 2.9, [2.2, 2.8]),
    ],
)
def test_ticks_of_a_logarithmic_axis(low, high, ticks):
    assert log_ticks(low, high) == pytest.approx(ticks)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-1, 1), (2, 2)])
def test_a_logarithmic_axis_has_no_zero(low, high):
    with pytest.raises(ValueError, match="0 < low < high"):
        log_ticks(low, high)


def test_numbers_are_spelled_as_people_say_them():
    assert [spell(v) for v in (0.05, 20, 5000, 2e6, 1e9, 1e-6)] == ["0.05", "20", "5,000", "2M", "1G", "1e-6"]
    assert [spell_length(n) for n in (64, 4096, 65_536, 1 << 20)] == ["64", "4K", "64K", "1M"]
    assert [short(v) for v in (0.784, 0.0312, 0.0)] == ["0.78", "0.031", "0.00"]
    assert (listing([8, 16, 32]), listing([8])) == ("8, 16 and 32", "8")


WORDS = "a title that goes on for longer than a narrow column could ever hold, as titles that say something will"


@pytest.mark.parametrize("width", [120, 300, 900, 2000])
def test_no_line_is_wider_than_its_place_and_no_word_is_lost(width):
    lines = fold(WORDS, width, 16)
    assert all(text_width(line, 16) <= width for line in lines)
    assert " ".join(lines) == WORDS
    assert len(lines) == 1 or width < text_width(WORDS, 16)
