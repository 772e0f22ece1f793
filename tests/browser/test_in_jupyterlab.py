"""Each notebook as a reader uses it: run, explored by the keyboard, predicted, solved, in every theme and width."""

import html
import re
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from browser.chromium import Watch
from browser.live_notebook import LiveNotebook, complaints, said
from browser.looks import dress, photograph_notebook, too_wide
from browser.server import NOTEBOOKS, PATIENCE

WIDE, NARROW, NARROWEST = 1300, 800, 480
STUB = re.compile(r"^( +)(?:return )?\.\.\..*$", re.MULTILINE)
SOLUTION = re.compile(r"<summary>Solution</summary><pre><code>(.*?)</code>", re.DOTALL)
PREDICTED = ".against("


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def opened(request, browser, server) -> Iterator[tuple[LiveNotebook, Watch]]:
    """The notebook after *Run All Cells*, in a browser that has seen no other."""
    context = browser.new_context(viewport={"width": WIDE, "height": 1000})
    watch = Watch(context, home=server.home)
    live = LiveNotebook(context.new_page(), server, request.param.name)
    live.run_all()
    yield live, watch
    context.close()


@pytest.fixture
def live(opened) -> Iterator[LiveNotebook]:
    """The open notebook; a test that leaves an error in the console, or asks another host, fails."""
    notebook, watch = opened
    yield notebook
    troubles, watch.troubles = watch.troubles, []
    assert not troubles


def test_every_cell_runs_without_an_error_or_a_warning(live):
    cells = [cell for cell in live.cells() if cell["cell_type"] == "code"]
    assert cells
    assert not [cell["source"] for cell in cells if cell["source"] and not cell["execution_count"]]
    assert not [text for cell in cells for text in complaints(cell)]


def test_every_figure_and_widget_is_drawn(live):
    outputs = [output for cell in live.cells() for output in cell.get("outputs", [])]
    kinds = [kind for output in outputs for kind in output.get("data", {})]
    plots = kinds.count("application/vnd.plotly.v1+json") + len(live.explorers())
    assert plots
    assert live.outputs(having=".main-svg").count() == plots
    views = live.outputs(having=".jupyter-widgets")
    assert views.count() == kinds.count("application/vnd.jupyter.widget-view+json")
    assert not live.page.get_by_text(re.compile("Error displaying widget|Loading widget")).count()


def test_every_control_of_every_explorer_changes_its_figure_by_keyboard(live):
    explorers = live.explorers()
    assert explorers
    for explorer in explorers:
        idle = [control.evaluate("e => e.outerHTML") for control in explorer.controls if not explorer.move(control)]
        assert not idle, f"these change nothing in {explorer.shown()[:200]}"


def test_a_prediction_made_by_keyboard_is_held_against_what_was_measured(live):
    held = [i for i, cell in enumerate(live.cells()) if PREDICTED in cell["source"]]
    assert held
    for cell, question in zip(held, live.predictions(), strict=True):
        assert "No prediction was made" in said(live.cells()[cell])
        option = question.locator("input[type=radio]").first
        option.focus()
        live.page.keyboard.press("Space")
        assert option.is_checked()
        assert re.search(r"as you predicted|you predicted “.+”", live.run_cell(cell))


def test_every_exercise_knows_a_stub_a_wrong_answer_and_its_own_solution(live):
    cells = live.cells()
    exercises = [i for i, cell in enumerate(cells) if cell["cell_type"] == "code" and STUB.search(cell["source"])]
    assert exercises
    for index in exercises:
        stub = cells[index]["source"]
        assert re.fullmatch(r"(Exercise|Puzzle).*: not attempted\n", said(cells[index]))
        wrong = live.run_cell(index, answer(stub, "return -1"))
        assert re.search(r"^(Exercise|Puzzle).*: not yet\. .{10,}\n\Z", wrong, re.MULTILINE)
        assert "The code raised" not in wrong
        check = stub.splitlines()[-1]  # exercises.check_pairs(pairs)
        assert live.run_cell(index, f"{solution(cells, index)}\n\n\n{check}").endswith(": correct\n")


def answer(stub: str, code: str) -> str:
    """The stub with some code in place of its `return ...`, or of a kernel's `...`."""
    return STUB.sub(lambda found: "\n".join(found[1] + line for line in code.splitlines()), stub, count=1)


def solution(cells: list[dict], index: int) -> str:
    """What the cell below the exercise has folded away."""
    shown = "".join("".join(output["data"].get("text/html", "")) for output in cells[index + 1]["outputs"])
    found = SOLUTION.search(shown)
    assert found, f"no folded solution follows {cells[index]['source']!r}"
    return html.unescape(found[1])


def test_hints_and_solutions_are_folded_and_open_on_a_click(live):
    folded = live.page.locator(".jp-OutputArea-output details")
    assert folded.count()
    assert not live.page.locator(".jp-OutputArea-output details[open]").count()
    folded.last.locator("summary").click()
    assert folded.last.locator("pre").is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [WIDE, NARROW, NARROWEST])
def test_nothing_but_tables_is_wider_than_its_place(live, photographs, theme, width):
    dress(live.page, theme, width)
    photograph_notebook(live.page, photographs / live.name.removesuffix(".ipynb") / f"{theme}-{width}")
    assert not too_wide(live.page)


@pytest.mark.parametrize("address", ["http://{home}/api/contents", "http://{home}/api/contents?token=wrong"])
def test_the_server_answers_nobody_without_its_token(server, address):
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.format(home=server.home), timeout=PATIENCE)
