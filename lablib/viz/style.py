"""One look for every figure: colours that read on white and on dark, one a model family; text that is measured."""

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Real
from textwrap import wrap

from plotly.colors import hex_to_rgb

# Okabe and Ito's hues (jfly.uni-koeln.de/color), darkened or lightened until each reads on white and on #111
BLUE, VERMILLION, GREEN, AMBER = "#1F78C8", "#D55E00", "#00936A", "#B08200"
PINK, VIOLET, TEAL, OLIVE, BROWN, CRIMSON = "#C8609B", "#8A63D2", "#1F93A5", "#74881E", "#A0674B", "#D03A3A"
GREY = "#7F7F7F"
TEXT = "#797979"  # 4.3 : 1 on white and on #111; no colour has more on both
GRID = "rgba(127,127,127,0.22)"

COLOURS = (BLUE, VERMILLION, GREEN, AMBER, PINK, VIOLET, TEAL, OLIVE, BROWN, CRIMSON, GREY)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")

# the parts of a model, and the families that are compared throughout the lab
WINDOW, RETRIEVAL = GREY, AMBER
FAMILIES = {
    name: colour
    for colour, names in {
        BLUE: "SWA + HSA|TTT-E2E|TTT-E2E, b=1|whole model, one question|narrow throughout",
        GREY: "SWA only|sliding window",
        VERMILLION: "full attention, RoPE|full attention",
        AMBER: "full attention, NoPE|hybrid 5:1|self-copy, then wide",
        PINK: "concatenated softmax|TTT-KVB, simplified|Gated DeltaNet",
        GREEN: "RoPE on the HSA read|Mamba-2|short and dense, then wide",
        BROWN: "SWA only, wide|no attention",
        TEAL: "TTT-E2E, b=16|TTT-E2E, first order|TTT-E2E, all blocks",
        VIOLET: "TTT-KVB",
        OLIVE: "TTT-naive",
        CRIMSON: "wide from scratch",
        TEXT: "best possible",
    }.items()
    for name in names.split("|")
}
RAMP = (BLUE, "#7A66DB", "#BB4FA8", CRIMSON)


def ramp(number: int) -> list[str]:
    """`number` colours from narrow (blue) to wide (red): the eye reads them as an order."""
    places = [i * (len(RAMP) - 1) / max(number - 1, 1) for i in range(number)]
    return [_between(RAMP[int(p)], RAMP[min(int(p) + 1, len(RAMP) - 1)], p % 1) for p in places]


def _between(first: str, second: str, share: float) -> str:
    parts = zip(hex_to_rgb(first), hex_to_rgb(second), strict=True)
    return "#" + "".join(f"{round(a + share * (b - a)):02X}" for a, b in parts)


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with an opacity, as plotly takes it."""
    return f"rgba({','.join(map(str, hex_to_rgb(colour)))},{alpha})"


def colours_of(names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """A colour a name: the given one, else the family's, else the next of the palette that no other name has."""
    found = {name: given.get(name, FAMILIES.get(name, "")) for name in names}
    more = dict.fromkeys([*COLOURS, *ramp(24)])
    rest = iter([colour for colour in more if colour not in found.values()])
    return {name: colour or next(rest) for name, colour in found.items()}


# ---- text and its width


def text_width(text: str, size: Real) -> float:
    """Pixels of a line without markup in a sans-serif, on the safe side."""
    bare = re.sub(r"<[^>]+>", "", text)
    narrow, wide = " .,;:|!'iljtfrI[]()·", "mwMW%—"
    return size * sum(0.31 if c in narrow else 0.86 if c in wide else 0.7 if c.isupper() else 0.56 for c in bare)


def fold(text: str, width: Real, size: Real) -> list[str]:
    """The text in lines of at most `width` pixels; a line break in it (<br>) stays."""
    folded = []
    for part in text.split("<br>"):
        longest = max(int(width / (text_width(part, size) / max(len(part), 1) or 1)), 6)
        lines = wrap(part, longest)
        while any(text_width(line, size) > width for line in lines) and longest > 6:
            longest -= 1
            lines = wrap(part, longest, break_long_words=False)
        folded += lines
    return folded


def spell_length(tokens: Real) -> str:
    """A length in tokens as people say it: 64, 4K, 1M."""
    for unit, size in (("M", 2**20), ("K", 2**10)):
        if tokens >= size:
            return f"{tokens / size:g}{unit}"
    return f"{tokens:g}"


def spell(value: Real) -> str:
    """A number on an axis: 0.05, 20, 5,000, 2M; 1e-6 below a thousandth."""
    if 0 < abs(value) < 1e-3:
        return f"{value:.0e}".replace("e-0", "e-")
    for unit, size in (("G", 1e9), ("M", 1e6)):
        if abs(value) >= size:
            return f"{value / size:g}{unit}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"


def short(value: Real) -> str:
    """A measured number in a sentence: two digits behind the point, of a small one two that mean something."""
    return f"{value:.2f}" if abs(value) >= 0.095 or abs(value) < 0.0005 else f"{value:.2g}"


def listing(names: Sequence[object]) -> str:
    """Names in a sentence: "8, 16 and 32"."""
    *first, last = map(str, names)
    return f"{', '.join(first)} and {last}" if first else last


def log_ticks(low: Real, high: Real) -> list[float]:
    """Places on a logarithmic axis from low to high, each to be printed: 1-2-5 steps, over many decades fewer.

    Raises ValueError unless 0 < low < high.
    """
    if not 0 < low < high:
        raise ValueError(f"a logarithmic axis needs 0 < low < high; got {low:g} and {high:g}")
    decades = math.log10(high / low)
    steps = (1, 2, 5) if decades <= 2.5 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    every = range(first, last + 1, max(1, math.ceil(decades / 7)))
    ticks = [float(f"{step}e{power}") for power in every for step in steps]
    inside = [tick for tick in ticks if low * (1 - 1e-9) <= tick <= high * (1 + 1e-9)]
    if len(inside) > 1:
        return inside
    ends = [low * (high / low) ** share for share in (0.1, 0.9)]
    rounded = ([float(f"{end:.{digits}g}") for end in ends] for digits in range(1, 17))
    return next((pair for pair in rounded if low <= pair[0] < pair[1] <= high), [low, high])
