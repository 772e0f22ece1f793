"""The report: one page that asks nothing of the network, trusts nothing that a notebook printed, and reads well."""

import base64
import re
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lablib.app import report
from lablib.app.outputs import PLOTLY, Outputs, exercise_states, stream
from lablib.app.runrecord import NotebookRun, RunRecord
from lablib.app.sanitize import sanitize
from lablib.core.exercise import Mistake, attempt, exercise

FIGURE = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"title": {"text": "Recall </script><b>by length</b>"}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TABLE = (
    '<div><style scoped>td {color: red}</style><table border="1" class="dataframe" onclick="steal()"><tr>'
    '<th colspan="2">window</th><td><img src="https://elsewhere.example/x.png"><a href="https://elsewhere.example">8</a>'
    "</td></tr></table><script>alert(1)</script></div>"
)


def displayed(data):
    return new_output("display_data", data=data)


def code(text, *outputs):
    return new_code_cell(text, outputs=list(outputs))


def printed(text):
    return new_output("stream", name="stdout", text=text)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    """The report of a run with one notebook of everything, one that failed at once and one that never ran."""
    folder = tmp_path_factory.mktemp("runs") / "20260101T000000Z-abcd"
    folder.mkdir()
    plotly = displayed({"application/vnd.plotly.v1+json": FIGURE})
    both = displayed({"application/vnd.plotly.v1+json": FIGURE, "image/png": PIXEL})
    widget = displayed({"application/vnd.jupyter.widget-view+json": {}, "text/plain": "IntSlider()"})
    claim = displayed({"text/markdown": "**claim a**: 5 of 5 <b>x</b> ![y](https://elsewhere.example/y.png)"})
    error = new_output("error", ename="ValueError", evalue="<bad>", traceback=["\x1b[31mValueError\x1b[0m: <bad>"])
    cells = [
        new_markdown_cell(
            "# The *first* notebook\n\n## The question\n\nDoes **it** hold?\n\nYou will have shown `x < y`.\n"
        ),
        new_markdown_cell("## What happened\n\nProse that the report leaves out."),
        code("table", displayed({"text/html": TABLE, "text/plain": "plain"})),
        code("figure", plotly, both),
        code("progress", printed("1 of 2\n"), printed("2 of 2\n")),
        code("print", printed("an early half\rwhole line\n<script>alert(2)</script>\n"), error),
        code("widget", widget),
        code("claim", claim),
        code("check_reach(reach)", printed("Exercise 1 (reach <8>): not attempted\n")),
        code("check_window(window)", printed("Exercise 2 (window): correct\n")),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "one.ipynb")

    def run(name, **more):
        return NotebookRun(
            name=name, path=f"{name}.ipynb", question="Why <not>?", given={}, parameters={"seed": 0}, **more
        )

    runs = [
        run("one", status="ok", wall_seconds=61.0, cpu_seconds=100.0),
        run("two", status="failed", error="ValueError: <bad>", wall_seconds=1.0, cpu_seconds=1.0),
        run("three", status="cancelled"),
    ]
    record = RunRecord(
        folder=folder,
        scale="smoke",
        parameters={"seed": "0"},
        workers=2,
        timeout=9.0,
        provenance={"commit": "abc123", "dirty": True, "torch": "2.13.0"},
        notebooks=runs,
        status="failed",
        started="2026-01-01T00:00:00+00:00",
    )
    return report.write(record).read_text()


class Elements(HTMLParser):
    """Every element of a page, and whether all that is opened is closed."""

    VOID = ("meta", "br", "img", "hr", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.found, self.open = [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page):
    assert Elements(page).open == []


def test_the_page_asks_nothing_from_outside(page):
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/")), (tag, attributes)
        assert not any(name.startswith("on") for name in attributes)
    assert "elsewhere.example" not in page
    assert "default-src 'none'" in page


def test_plotly_is_in_once_and_the_figures_cannot_end_their_script(page):
    assert page.count("plotly.js v") == 1
    figures = [
        attributes for tag, attributes in Elements(page).found if tag == "script" and "data-figure" in attributes
    ]
    assert [one["data-figure"] for one in figures] == ["figure-1", "figure-2"]
    assert "Recall \\u003c/script>" in page


def test_a_page_without_figures_has_no_script(page, tmp_path):
    record = RunRecord(
        folder=tmp_path, scale="lab", parameters={}, workers=1, timeout=9.0, provenance={}, notebooks=[], status="ok"
    )
    assert "<script" not in report.build(record)


def test_a_figures_image_stands_in_where_there_is_no_javascript(page):
    assert f'<noscript><img src="data:image/png;base64,{PIXEL}"' in page
    assert "Drawn by JavaScript, which is off" in page
    assert 'aria-label="Recall' in page


def test_pictures_can_be_drawn_for_every_figure_that_brings_none():
    figure = {"data": [], "layout": {"title": {"text": "Recall <b>far</b>"}}}
    cell = {"outputs": [{"output_type": "display_data", "data": {PLOTLY: figure}}]}
    (drawn,) = Outputs(lambda given: f"png of {len(given['data'])} traces".encode()).of(cell)
    content = base64.b64encode(b"png of 0 traces").decode()
    assert f'<noscript><img src="data:image/png;base64,{content}" alt="Recall  far "></noscript>' in drawn
    (plain,) = Outputs().of(cell)
    assert "lab report --images" in plain


def test_contents_statuses_and_times(page):
    for name in ("one", "two", "three"):
        assert f'href="#{name}"' in page
        assert f'<section id="{name}">' in page
    assert "1 of 3 notebooks ok, smoke scale" in page
    assert "a cell raised an error" in page
    assert "cancelled: not run to its end" in page
    assert "Took 1:01, CPU time 1:40." in page
    assert "its numbers are not results" in page


def test_the_contents_lead_to_every_notebook_and_to_the_provenance_in_their_order(page):
    contents = page.partition("<nav")[2].partition("</nav>")[0]
    assert re.findall(r'href="#([\w-]+)"', contents) == ["one", "two", "three", "provenance"]
    assert re.findall(r'class="status \w+">(\w+)<', contents) == ["ok", "failed", "cancelled"]
    assert re.findall(r'<section id="([\w-]+)"', page) == ["one", "two", "three", "provenance"]


def test_all_but_the_figures_can_be_read_without_javascript(page):
    """Only a figure's drawing is a script; its image or a word stands in, and the empty place is taken away."""
    bare = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for kept in ("5 of 5", "<table", "not attempted", "abc123", "Took 1:01", PIXEL, "<noscript><style>.plot"):
        assert kept in bare


def test_the_question_is_shown_and_prose_is_not(page):
    assert "<p>Does <strong>it</strong> hold?</p>" in page
    assert "<code>x &lt; y</code>" in page
    assert "leaves out" not in page
    assert "<h2>The <em>first</em> notebook</h2>" in page
    assert "Why &lt;not&gt;?" in page  # of a notebook that was never written


def test_outputs_are_escaped(page):
    assert "<script>alert" not in page
    assert "whole line\n&lt;script&gt;alert(2)&lt;/script&gt;" in page
    assert "an early half" not in page
    assert '<pre class="error">ValueError: &lt;bad&gt;</pre>' in page
    assert "IntSlider" not in page
    assert "<strong>claim a</strong>: 5 of 5 &lt;b&gt;x&lt;/b&gt;" in page


def test_tables_keep_their_shape_only(page):
    assert '<table class="dataframe"><tr><th colspan="2">window</th><td><a>8</a></td></tr></table>' in page
    assert "color: red" not in page


def test_exercises_and_provenance(page):
    assert '<li>Exercise 1 (reach &lt;8&gt;): <span class="status wait">not attempted</span></li>' in page
    assert '<li>Exercise 2 (window): <span class="status ok">correct</span></li>' in page
    assert "<th>commit</th><td>abc123</td>" in page
    assert "<th>dirty</th><td>true</td>" in page


def test_the_state_of_an_exercise_is_what_its_check_prints(capsys):
    @exercise("Exercise 1 (reach)")
    def check(answer):
        if attempt(answer) != 1:
            raise Mistake("count again")

    for answer, state in ((lambda: None, "not attempted"), (lambda: 2, "not yet"), (lambda: 1, "correct")):
        check(answer)
        cell = code("check(answer)", printed(capsys.readouterr().out))
        assert exercise_states(cell) == [("Exercise 1 (reach)", state)]
    assert exercise_states(code("x", printed("the answer: correct"))) == []


def test_what_one_cell_prints_in_several_goes_is_one_block(page):
    assert "<pre>1 of 2\n2 of 2</pre>" in page


def test_a_long_stream_is_folded():
    assert stream("a\nb").startswith("<pre>")
    assert stream("line\n" * 100).startswith("<details><summary>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>bold", "<b>bold</b>"),
        ("<td>1</tr>", "<td>1</td>"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("<svg><script>x</script></svg>after", "after"),
        ("<style>x", ""),
        ("<a href='javascript:alert(1)' title='t'>x</a>", '<a title="t">x</a>'),
        (
            "<img src='data:text/html,x'><img src='data:image/png;base64,AA=='>",
            '<img src="data:image/png;base64,AA==">',
        ),
        ("<ScRiPt>x</sCrIpT>y", "y"),
        ("<table style='background:url(//x)'></table>", "<table></table>"),
        ("&lt;script&gt;", "&lt;script&gt;"),
        ("</b></table>x", "x"),
    ],
)
def test_html_is_reduced_to_tables_and_text(text, expected):
    assert sanitize(text) == expected
