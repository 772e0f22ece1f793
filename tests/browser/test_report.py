"""The report of a smoke run, opened from its file: light, dark and narrow, with JavaScript and without."""

from collections.abc import Iterator

import pytest

from browser.chromium import Watch
from browser.looks import photograph

SIDEWAYS = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
SQUEEZED_OUT = """() => [...document.querySelectorAll('figure .drawn')].filter(
  each => each.scrollWidth > each.clientWidth + 1 && !each.querySelector('.panels')).length"""
# a word on its background, as contrast by WCAG 2; figures and tables bring their own
CONTRAST = """() => {
  const luminance = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).map(each => each / 255)
      .map(each => each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = luminance(getComputedStyle(document.body).backgroundColor);
  const words = [...document.querySelectorAll('h1, h2, h3, p, li, a, td, th, summary, .status, .soft')]
    .filter(each => !each.closest('figure, pre, .notice') && each.textContent.trim());
  return Math.min(...words.map(each => {
    const [low, high] = [ground, luminance(getComputedStyle(each).color)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }));
}"""


@pytest.fixture
def opened(request, browser, report, photographs) -> Iterator:
    """The report in a page of its own kind, photographed in the end; no error in its console, no request at all."""
    looks = request.param
    context = browser.new_context(
        viewport={"width": looks["width"], "height": 900},
        color_scheme=looks["theme"],
        java_script_enabled=looks.get("script", True),
    )
    watch = Watch(context)
    page = context.new_page()
    page.goto(report.as_uri())
    yield page
    name = f"{looks['theme']}-{looks['width']}" + ("" if looks.get("script", True) else "-without-script")
    photograph(page, photographs / "report" / name, page.evaluate("() => document.documentElement.scrollHeight"))
    context.close()
    assert not watch.troubles


EVERY = [{"theme": theme, "width": width} for theme in ("light", "dark") for width in (1300, 800, 480)]
STILL = [{"theme": theme, "width": 480, "script": False} for theme in ("light", "dark")]


def name(looks: dict) -> str:
    return "-".join(str(value) for value in looks.values())


@pytest.mark.parametrize("opened", EVERY, ids=name, indirect=True)
def test_with_javascript_every_figure_is_drawn_and_the_page_fits(opened):
    places = opened.locator("figure .plot")
    assert places.count()
    for place in places.all():
        place.locator(".main-svg").first.wait_for()
    assert opened.evaluate(SIDEWAYS) == 0
    assert opened.evaluate(CONTRAST) >= 4.5
    assert opened.evaluate(SQUEEZED_OUT) == 0


@pytest.mark.parametrize("opened", STILL, ids=name, indirect=True)
def test_without_javascript_every_figure_has_an_image_or_says_what_is_missing(opened):
    figures = opened.locator("figure").all()
    assert figures
    for figure in figures:
        assert figure.locator("img").count() or "by JavaScript" in figure.inner_text()
        assert not figure.locator(".plot").is_visible()
    assert opened.evaluate(SIDEWAYS) == 0


@pytest.mark.parametrize("opened", EVERY[:1], ids=name, indirect=True)
def test_its_contents_lead_to_every_notebook(opened):
    for link in opened.locator("nav a").all():
        link.click()
        assert opened.locator(f"[id='{link.get_attribute('href')[1:]}']").is_visible()
