"""What a notebook shows and asks; without a person (`interactive` False) pictures are drawn once, without widgets."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anywidget
import ipywidgets as widgets
import plotly.graph_objects as go
from IPython.display import Markdown, display

NOT_ALIVE = "Is there nothing above to move or choose? Run this cell again: a saved notebook keeps no widgets."


def show(figure: go.Figure) -> None:
    """A figure, and under it its caption, if it has one."""
    display(figure)
    say(_caption(figure.layout.meta))


def say(text: str) -> None:
    """A paragraph of Markdown, for sentences whose numbers come from a table; an empty one is none."""
    if text:
        display(Markdown(text))


def _caption(meta: Mapping[str, Any]) -> str:
    return f"*{meta['caption']}*" if meta["caption"] else ""


class Fit(anywidget.AnyWidget):
    """Nothing to see: it tells each change of its box as one of the window, and hides `NOT_ALIVE` beside it.

    Plotly draws a widget's figure before it has a place, 700 pixels wide, and measures again only for the window.
    """

    _css = """
    .jp-OutputArea:has(.widget-vbox) .not-alive { display: none; }
    .widget-vbox .widget-slider .widget-readout { max-width: none; min-width: 9em; }
    """

    _esm = """
    function render({ el }) {
      let box = null;
      const watch = new ResizeObserver(() => {
        if (box !== el.parentElement) watch.observe(box = el.parentElement);
        window.dispatchEvent(new Event("resize"));
      });
      watch.observe(el);
      return () => watch.disconnect();
    }
    export default { render };
    """


class Column(widgets.VBox):
    """Widgets one below the other, and for who opens the notebook without its kernel what to do."""

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return super()._repr_mimebundle_(**options) | {"text/plain": "(a picture to move, or a question)"}

    def show(self, below: str = "") -> None:
        """Display them, and a text below them."""
        display(self)
        # an output of its own: where a widget is lost, a page shows the error of the widget and nothing else of it
        say(f"{below}\n\n<small class='not-alive'>{NOT_ALIVE}</small>")


class Explorer:
    """Sliders over a figure: `draw(**values)` answers every move with a figure of the same traces.

    `sliders` maps an argument of `draw` to its values in order; `start` gives those to begin with. `draw` must be
    quick (under 100 ms) and depend on nothing but its arguments.
    """

    def __init__(
        self, draw: Callable[..., go.Figure], sliders: Mapping[str, Sequence], start: Mapping[str, Any] | None = None
    ):
        begin = {name: values[0] for name, values in sliders.items()} | dict(start or {})
        look = {"style": {"description_width": "9em"}, "layout": {"width": "min(100%, 30em)"}}
        self.draw = draw
        self.sliders = {
            name: widgets.SelectionSlider(
                options=[*values], value=begin[name], description=name.replace("_", " "), **look
            )
            for name, values in sliders.items()
        }
        self.figure = go.FigureWidget(draw(**self.values))
        self.figure._config = self.figure._config | {"responsive": True}  # plotly.py has no public name for it
        for slider in self.sliders.values():
            slider.observe(self._redraw, names="value")
        self.box = Column([*self.sliders.values(), Fit(), self.figure])

    @property
    def values(self) -> dict[str, Any]:
        return {name: slider.value for name, slider in self.sliders.items()}

    def _redraw(self, change: Any) -> None:
        fresh = self.draw(**self.values)
        with self.figure.batch_update():
            for old, new in zip(self.figure.data, fresh.data, strict=True):
                old.update(new.to_plotly_json(), overwrite=False)
            for part in fresh.layout:  # ranges and ticks too
                if part.startswith(("xaxis", "yaxis", "shapes", "annotations", "title", "margin", "height")):
                    self.figure.layout[part] = fresh.layout[part]

    def show(self, *, interactive: bool) -> None:
        """The sliders and the figure, or the figure alone; and its caption."""
        if not interactive:
            return show(self.draw(**self.values))
        self.box.show(_caption(self.figure.layout.meta))


class Prediction:
    """A question with options, to be answered before anything runs; `value` is None until a person has chosen."""

    def __init__(self, question: str, options: Sequence[str], *, interactive: bool):
        self.options, self.radio = list(options), None
        if interactive:
            self.radio = widgets.RadioButtons(options=self.options, value=None, layout={"width": "max-content"})
            Column([widgets.HTML(f"<b>{question}</b>"), self.radio, Fit()]).show()
        else:
            say(f"**{question}** " + " · ".join(self.options))

    @property
    def value(self) -> str | None:
        return None if self.radio is None else self.radio.value

    def against(self, outcome: str) -> str:
        """A sentence that holds the prediction against what was measured."""
        if outcome not in self.options:
            raise ValueError(f"the outcome {outcome!r} is none of the options: {', '.join(self.options)}")
        if self.value is None:
            return f"No prediction was made. Measured: **{outcome}**."
        verdict = "as you predicted" if self.value == outcome else f"you predicted “{self.value}”"
        return f"Measured: **{outcome}**; {verdict}."
