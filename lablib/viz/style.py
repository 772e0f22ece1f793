"""One look for every figure: a colour-blind-safe palette, one name and colour a model family, one template."""

from collections.abc import Sequence
from textwrap import wrap

import plotly.graph_objects as go

# Okabe and Ito's palette (jfly.uni-koeln.de/color), safe for the common colour-vision deficiencies
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILLION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#7F7F7F"

FAMILIES = {
    "SWA + HSA": BLUE,
    "SWA only": GREY,
    "full attention, RoPE": VERMILLION,
    "full attention, NoPE": ORANGE,
    "concatenated softmax": PURPLE,
    "RoPE on the HSA read": GREEN,
}

END_COLOURS = (BLUE, VERMILLION)  # where only a narrow and a wide window are compared
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "cross")
COLOURS = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, GREY, BLACK)  # of things without a colour of their own

# narrow to wide: cividis from dark to light, without its palest end
RAMP = ("#00224E", "#2A3F6D", "#575C6D", "#7D7C78", "#A59C74", "#CFB958", "#E8D34A")


def ramp(number: int) -> list[str]:
    """`number` colours in an order that the eye reads as more and more."""
    if number == 1:
        return [RAMP[0]]
    return [RAMP[round(i * (len(RAMP) - 1) / (number - 1))] for i in range(number)]


def look(place: int, colours: Sequence[str] = COLOURS) -> dict[str, str]:
    """Colour, dash and symbol of the line at a place of a figure: no two alike among the first two dozen."""
    return {
        "colour": colours[place % len(colours)],
        "dash": DASHES[place % len(DASHES)],
        "symbol": SYMBOLS[place % len(SYMBOLS)],
    }


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with an opacity, as plotly takes it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


LINE = 21  # pixels
# Characters a line in a column of 350 pixels; plotly itself breaks no line.
TITLE, SOURCE, PANEL = 47, 62, 18


def dress(figure: go.Figure, *, title: str, source: str, height: int = 430, legend_rows: int = 0) -> go.Figure:
    """The lab's template: white ground, readable sizes, and under the title what the figure is drawn from.

    `height` is that of a figure with one line of title and one of source; more lines make it higher. A legend of long
    names stands in a column at the foot, if `legend_rows` says of how many.
    """
    titles, sources = wrap(title, TITLE), wrap(source, SOURCE)
    height += LINE * (len(titles) + len(sources) - 2 + legend_rows)
    head = LINE * len(titles + sources) + _fold_panel_titles(figure)
    small = [f'<span style="font-size:12px">{line}</span>' for line in sources]
    figure.update_layout(
        template="plotly_white",
        title={"text": "<br>".join(titles + small), "font": {"size": 16}, "x": 0.01, "xanchor": "left"}
        | {"y": 1 - 18 / height, "yanchor": "top"},
        font={"size": 13, "color": "#1a1a1a"},
        paper_bgcolor="white",
        plot_bgcolor="white",
        height=height,
        margin={"l": 64, "r": 20, "t": head + 30, "b": 74 + LINE * legend_rows if legend_rows else 64},
        # at the foot of the figure, so that the title of an axis is never under it, however high the plot is
        legend={
            "orientation": "v" if legend_rows else "h",
            "x": 0,
            "y": 8 / height,
            "yref": "container",
            "yanchor": "bottom",
        },
        hoverlabel={"font": {"size": 12}},
        modebar={"remove": ["sendChartToCloud"]},  # the lab sends nothing anywhere
    )
    axis = {"showline": True, "linecolor": "#888", "ticks": "outside", "gridcolor": "#eee", "title_font_size": 14}
    figure.update_xaxes(**axis)
    figure.update_yaxes(**axis)
    return figure


def _fold_panel_titles(figure: go.Figure) -> int:
    """Break the titles over panels, so that neighbours do not run into each other; returns the pixels they need."""
    panels = [note for note in figure.layout.annotations if note.yref == "paper" and note.yanchor == "bottom"]
    folded = [[line for part in note.text.split("<br>") for line in wrap(part, PANEL)] for note in panels]
    for note, lines in zip(panels, folded, strict=True):
        note.update(text="<br>".join(lines), font={"size": 14})
    return 19 * max(map(len, folded), default=0)
