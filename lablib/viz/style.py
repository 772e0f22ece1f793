"""One look for every figure: a colour-blind-safe palette, one name and colour a model family, one template."""

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

# narrow to wide: cividis from dark to light, without its palest end
RAMP = ("#00224E", "#2A3F6D", "#575C6D", "#7D7C78", "#A59C74", "#CFB958", "#E8D34A")


def ramp(number: int) -> list[str]:
    """`number` colours in an order that the eye reads as more and more."""
    if number == 1:
        return [RAMP[0]]
    return [RAMP[round(i * (len(RAMP) - 1) / (number - 1))] for i in range(number)]


def rgba(colour: str, alpha: float) -> str:
    """A hex colour with an opacity, as plotly takes it."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def dress(figure: go.Figure, *, title: str, source: str, height: int = 430) -> go.Figure:
    """The lab's template: white ground, readable sizes, and under the title what the figure is drawn from."""
    figure.update_layout(
        template="plotly_white",
        title={"text": f"{title}<br><sup>{source}</sup>", "x": 0.01, "xanchor": "left", "font": {"size": 17}},
        font={"size": 13, "color": "#1a1a1a"},
        paper_bgcolor="white",
        plot_bgcolor="white",
        height=height,
        margin={"l": 64, "r": 20, "t": 84, "b": 64},
        legend={"orientation": "h", "y": -0.26, "x": 0, "yanchor": "top"},
        hoverlabel={"font": {"size": 12}},
    )
    figure.update_xaxes(showline=True, linecolor="#888", ticks="outside", gridcolor="#eee")
    figure.update_yaxes(showline=True, linecolor="#888", ticks="outside", gridcolor="#eee")
    return figure
