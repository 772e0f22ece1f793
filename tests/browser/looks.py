"""How a notebook looks in JupyterLab: its theme and width, what sticks out, and photographs of all of it."""

from pathlib import Path

THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
SCROLLER = ".jp-WindowedPanel-outer"
END = "() => Math.max(...[...document.querySelectorAll('.jp-Cell')].map(cell => cell.getBoundingClientRect().bottom))"
WIDTHS = """() => JSON.stringify([...document.querySelectorAll('.js-plotly-plot .main-svg, .jp-Cell')].map(
  each => [each.getBoundingClientRect().width, each.getBoundingClientRect().height]))"""
# tables may be scrolled sideways in their place, and so may code
TOO_WIDE = """() => [...document.querySelectorAll('.jp-OutputArea-child')].flatMap(place => {
  const right = place.getBoundingClientRect().right + 1;
  const parts = place.querySelectorAll('.main-svg, .jupyter-widgets, .jp-RenderedMarkdown, img');
  return [...parts].filter(part => part.getBoundingClientRect().right > right).map(part => part.outerHTML.slice(0, 99));
})"""


def dress(page, theme: str, width: int) -> None:
    """Give the page a theme and a width; in a narrow one the side bar is folded away."""
    page.evaluate("theme => { window.jupyterapp.commands.execute('apputils:change-theme', {theme}) }", THEMES[theme])
    light = str(theme == "light").lower()
    page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)
    page.evaluate(f"() => window.jupyterapp.shell.{'collapseLeft' if width < 1000 else 'expandLeft'}()")
    page.set_viewport_size({"width": width, "height": 1000})
    _rest(page)


def too_wide(page) -> list[str]:
    """The figures, widgets and sentences that end to the right of the place that they have."""
    return page.evaluate(TOO_WIDE)


def photograph_notebook(page, folder: Path) -> None:
    """The whole notebook in pieces; the window becomes so tall that nothing is scrolled out of sight."""
    width = page.viewport_size["width"]
    page.evaluate(f"() => document.querySelector('{SCROLLER}').scrollTo(0, 0)")
    height, end = 1000, int(page.evaluate(END))
    while end > height - 100:  # cells come to their own height only when they are in sight
        height = end + 400
        page.set_viewport_size({"width": width, "height": height})
        _rest(page)
        end = int(page.evaluate(END))
    photograph(page, folder, end + 20)


def photograph(page, folder: Path, height: int, piece: int = 900) -> None:
    """The upper `height` pixels of a page, in numbered pieces that a person can look at.

    The page is scrolled to each piece: to paint all of a long page for each of its pieces takes minutes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, top in enumerate(range(0, height, piece)):
        above = page.evaluate("top => { window.scrollTo(0, top); return window.scrollY; }", top)
        size = {"width": page.viewport_size["width"], "height": min(piece, height - top)}
        page.screenshot(path=folder / f"{number:02}.png", clip={"x": 0, "y": top - above, **size})


def _rest(page) -> None:
    """Wait until cells and figures have the sizes that they will keep."""
    before = None
    for _ in range(1200):
        page.wait_for_timeout(250)
        before, last = page.evaluate(WIDTHS), before
        if before == last:
            return
    raise TimeoutError("the page does not come to rest: its cells or figures keep changing their sizes")
