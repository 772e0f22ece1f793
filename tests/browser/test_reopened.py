"""A notebook with widgets that was saved, closed and opened again without its kernel says how to get them back."""

import json
import re
import urllib.request

import nbformat
import pytest

from browser.live_notebook import LiveNotebook
from browser.server import PATIENCE, Server
from lablib.viz.widgets import NOT_ALIVE

EXPLORER = "from lablib.longcontext.explore import pairs_explorer\npairs_explorer().show(interactive=True)"
QUESTION = "from lablib.viz.widgets import Prediction\nguess = Prediction('Which?', ['one', 'two'], interactive=True)"


def ask(server: Server, method: str, path: str, body: dict | None = None):
    """What the server answers to a request of its interface."""
    request = urllib.request.Request(f"http://{server.home}/api/{path}", method=method)
    request.add_header("Authorization", f"token {server.token}")
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, json.dumps(body).encode() if body else None, timeout=PATIENCE) as answer:
        return json.loads(answer.read() or "null")


@pytest.fixture
def widgets(server) -> str:
    """A notebook of one explorer and one question."""
    cells = [nbformat.v4.new_code_cell(source) for source in (EXPLORER, QUESTION)]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    content = nbformat.v4.new_notebook(cells=cells, metadata=spec)
    ask(server, "PUT", "contents/widgets.ipynb", {"type": "notebook", "content": content})
    return "widgets.ipynb"


def test_the_sentence_is_seen_only_where_a_widget_is_lost(browser, server, widgets):
    context = browser.new_context()
    live = LiveNotebook(context.new_page(), server, widgets)
    live.run_all()
    live.page.locator(".widget-radio").wait_for()
    live.page.locator(".main-svg").first.wait_for()
    sentence = live.page.get_by_text(NOT_ALIVE)
    assert [one.is_visible() for one in sentence.all()] == [False, False]
    live.run_command("docmanager:save")
    context.close()
    for session in ask(server, "GET", "sessions"):
        if session["path"] == widgets:
            ask(server, "DELETE", f"sessions/{session['id']}")

    context = browser.new_context()
    again = LiveNotebook(context.new_page(), server, widgets)
    lost = again.page.get_by_text(re.compile("Error displaying widget|Loading widget"))
    lost.first.wait_for()
    assert lost.count() == 2
    assert [one.is_visible() for one in again.page.get_by_text(NOT_ALIVE).all()] == [True, True]
    again.run_cell(1)
    again.page.locator(".widget-radio").wait_for()
    assert [one.is_visible() for one in again.page.get_by_text(NOT_ALIVE).all()] == [True, False]
    context.close()
