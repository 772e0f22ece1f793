"""The report: one page that asks nothing of the network, trusts nothing that a notebook printed, and reads well."""

import base64
import itertools
import re
from html import unescape
from html.parser import HTMLParser

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lablib.app import report
from lablib.app.outputs import PLOTLY, exercise_states, prepared
from lablib.app.prose import formula, inline, markdown, sanitize
from lablib.app.run_state import NotebookRun, RunState
from lablib.core.exercise import Mistake, attempt, exercise, show_solution
from lablib.core.session import session
from lablib.core.store import PROJECT
from lablib.longcontext.experiments.cost import CostConfig

FIGURE = {"data": [{"type": "scatter", "y": [1, 2]}], "layout": {"title": {"text": "Recall </script><b>by length</b>"}}}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PROSE = r"""## What happened

Prose stands beside $W_{i-1} - \eta\, x$ and a [source](https://arxiv.org/abs/2512.23675).

![The model <b>](setup.svg) ![elsewhere](https://elsewhere.example/z.png)

<details><summary>Hint</summary>

Count **twice**.

</details>
<details open onclick="steal()"><summary>Solution</summary><pre>
return 1
</pre></details>
<script>alert(3)</script><iframe src="https://elsewhere.example"></iframe>

### A detail

## What it cost

Little.
"""
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


def result(value):
    return new_output("execute_result", data={"text/plain": repr(value)}, execution_count=1)


def section(page: str, name: str) -> str:
    return page.partition(f'<section id="{name}">')[2].partition("</section>")[0]


def visible(html: str) -> str:
    """What a reader sees before unfolding anything: no tags, no code, nothing inside of <details> but its summary."""
    shut = re.sub(r"<script.*?</script>|<noscript>.*?</noscript>", "", html, flags=re.DOTALL)
    shut = re.sub(r"<details[^>]*>\s*<summary>(.*?)</summary>.*?</details>", r"\1", shut, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", shut)).split())


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
    said = displayed({"text/markdown": "*Recall falls with **no** length.*"})
    carried = {"data": [], "layout": {"meta": {"alt": "A line that falls.", "caption": "Recall by length."}}}
    (folder / "setup.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><circle r='1'/></svg>")
    cells = [
        new_markdown_cell(
            "# The *first* notebook\n\nWhat it is.\n\n## The question\n\nDoes **it** hold?\n\n`x < y`.\n"
        ),
        new_code_cell("seed = 0  # <the seed>", execution_count=1),
        code("session()", result(session("smoke"))),
        code("cfg", result(CostConfig(work="full attention"))),
        code("5 / 2", result(2.5)),
        new_markdown_cell(PROSE),
        code("table", displayed({"text/html": TABLE, "text/plain": "plain"})),
        code("figure", plotly, said),
        code("figure", both, displayed({"text/markdown": "Not of the figure."})),
        code("figure", displayed({PLOTLY: carried}), displayed({"text/markdown": "Recall by length."})),
        code("progress", printed("1 of 2\n"), printed("2 of 2\n")),
        code("print", printed("an early half\rwhole line\n<script>alert(2)</script>\n"), error),
        code("widget", widget),
        code("claim", claim),
        code("check_reach(reach)", printed("Exercise 1 (reach <8>): not attempted\n")),
        code("check_window(window)", printed("Exercise 2 (window): correct\n")),
        new_code_cell("never_reached()"),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "one.ipynb")

    def run(name, **more):
        return NotebookRun(
            name=name,
            path=f"../{folder.name}/{name}.ipynb",
            question="Why *not*?",
            given={},
            parameters={"seed": 0},
            **more,
        )

    runs = [
        run("one", status="ok", wall_seconds=61.0, cpu_seconds=100.0),
        run("two", status="failed", error="ValueError: <bad>", wall_seconds=1.0, cpu_seconds=1.0),
        run("three", status="cancelled"),
    ]
    record = RunState(
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
        for name in ("src", "srcset", "action", "poster", "data", "background"):
            assert (attributes.get(name) or "data:image/").startswith("data:image/"), (tag, attributes)
        assert not any(name.startswith("on") or name == "style" for name in attributes)
    assert "elsewhere.example" not in page
    assert "default-src 'none'" in page


def test_a_link_leads_within_the_page_or_is_one_that_the_author_wrote(page):
    links = {attributes["href"] for tag, attributes in Elements(page).found if "href" in attributes}
    assert {link for link in links if not link.startswith("#")} == {"https://arxiv.org/abs/2512.23675"}
    places = {attributes["id"] for tag, attributes in Elements(page).found if "id" in attributes}
    assert {link[1:] for link in links if link.startswith("#")} <= places
    assert '<meta name="referrer" content="no-referrer">' in page


def test_plotly_is_in_once_and_the_figures_cannot_end_their_script(page):
    assert page.count("plotly.js v") == 1
    figures = [
        attributes for tag, attributes in Elements(page).found if tag == "script" and "data-figure" in attributes
    ]
    assert [one["data-figure"] for one in figures] == ["figure-1", "figure-2", "figure-3"]
    assert "Recall \\u003c/script>" in page


def empty_run(folder, **more):
    fields = {"scale": "lab", "parameters": {}, "workers": 1, "timeout": 9.0, "provenance": {}, "notebooks": []}
    return RunState(folder=folder, **fields | more)


def test_a_page_without_figures_has_no_script(tmp_path):
    assert "<script" not in report.build(empty_run(tmp_path, status="ok"))


def test_what_the_record_says_loses_folders_and_secrets_and_is_escaped(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "correct-horse-battery")
    leaks = {
        "error": f"{PROJECT}/x <b>",
        "parameters": {"key": "correct-horse-battery"},
        "provenance": {"at": f"{PROJECT}/y"},
    }
    page = report.build(empty_run(tmp_path, **leaks))
    for leak in (str(PROJECT), "correct-horse-battery", "<b>"):
        assert leak not in page
    for kept in ("x &lt;b&gt;", "key=[secret A_TOKEN]", "<td>y</td>"):
        assert kept in page


def test_a_figures_image_stands_in_where_there_is_no_javascript(page):
    assert f'<noscript><img src="data:image/png;base64,{PIXEL}"' in page
    assert "Drawn by JavaScript, which is off" in page
    assert 'aria-label="Recall' in page


def shown(*outputs, still=None):
    (cell,) = prepared(new_notebook(cells=[code("x", *outputs)]), itertools.count(1), still)
    return cell.shown


def test_pictures_can_be_drawn_for_every_figure_that_brings_none():
    output = displayed({PLOTLY: {"data": [], "layout": {"title": {"text": "Recall <b>far</b>"}}}})
    (drawn,) = shown(output, still=lambda given: f"png of {len(given['data'])} traces".encode())
    assert drawn.picture == f"data:image/png;base64,{base64.b64encode(b'png of 0 traces').decode()}"
    assert drawn.figure["label"] == "Recall far"
    (plain,) = shown(output)
    assert plain.picture == ""


def test_the_words_of_a_figure_stand_under_it_once(page):
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    assert captions == ["Recall falls with <strong>no</strong> length.", "Recall by length."]
    assert visible(page).count("Recall falls with") == 1
    assert visible(page).count("Recall by length.") == 1
    assert visible(page).count("Not of the figure.") == 1
    labels = [found["aria-label"] for _, found in Elements(page).found if found.get("role") == "img"]
    assert labels == ["Recall falls with no length.", "Recall by length", "A line that falls."]


def test_no_white_box_is_put_behind_a_figure():
    style = (report.TEMPLATES / "report.css").read_text()
    assert not re.search(r"(figure|\.plot|\.drawn)[^{]*\{[^}]*background", style)


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


def test_the_parts_of_a_notebook_are_its_headings_and_lead_to_them(page):
    parts = section(page, "one").partition("<nav")[2].partition("</nav>")[0]
    found = re.findall(r'<a href="#([\w-]+)">(.*?)</a>', parts)
    assert [words for _, words in found] == ["The question", "What happened", "What it cost"]
    assert found == re.findall(r'<h3 id="([\w-]+)">(.*?)</h3>', page)


def test_all_but_the_figures_can_be_read_without_javascript(page):
    """Only a figure's drawing is a script; its image or a word stands in, and the empty place is taken away."""
    bare = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    for kept in ("5 of 5", "<table", "not attempted", "abc123", "Took 1:01", PIXEL, "<noscript><style>.plot"):
        assert kept in bare


def test_prose_and_outputs_stand_in_the_notebooks_own_order(page):
    shown = visible(section(page, "one"))
    shown = shown[shown.index("What it is.") :]
    order = ["The question", "Does it hold?", "2.5", "What happened", "Prose stands", "A detail", "What it cost"]
    order += ["window", "Recall falls", "2 of 2", "whole line", "claim a", "(reach <8>)"]
    places = [shown.index(words) for words in order]
    assert places == sorted(places)
    assert section(page, "one").count("The <em>first</em> notebook") == 1
    assert "<p>Does <strong>it</strong> hold?</p>" in page
    assert "<code>x &lt; y</code>" in page


def test_code_is_there_and_folded_and_says_when_it_did_not_run(page):
    text = section(page, "one")
    assert "seed = 0  # &lt;the seed&gt;" in text
    assert "seed = 0  #" not in visible(text)
    assert text.count("<summary>Code</summary>") == 14
    assert re.findall(r"<summary>Code, not run</summary><pre><code>(.*?)</code>", text) == ["never_reached()"]
    assert not re.search(r"<details[^>]* open", text)


def test_dumps_of_a_configuration_are_folded_with_the_code_and_other_values_are_not(page):
    text = section(page, "one")
    for dump in ("Session(scale=", "CostConfig("):
        assert dump in unescape(text)
        assert dump not in visible(text)
    assert "2.5" in visible(text)


def test_of_a_notebook_that_was_not_kept_the_question_is_shown(page):
    assert visible(section(page, "two")).endswith("Why not ? Nothing of it was kept.")


def test_hints_and_solutions_in_prose_are_folded_and_scripts_are_dropped(page):
    text = section(page, "one")
    folded = re.findall(r"<details><summary>(Hint|Solution)</summary>(.*?)</details>", text, re.DOTALL)
    assert [name for name, _ in folded] == ["Hint", "Solution"]
    assert "<p>Count <strong>twice</strong>.</p>" in folded[0][1]
    assert "return 1\n" in folded[1][1]
    assert "alert(3)" not in text
    assert "steal" not in text


def test_a_folded_solution_is_folded_in_the_report_too(monkeypatch):
    @exercise("Exercise 1 (one)", solution=displayed, hint="a < b")
    def check(answer):
        attempt(answer)

    kept = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw: kept.append(displayed(data)))
    show_solution(check)
    text = str(sanitize(kept[0].data["text/html"]))
    assert visible(text) == "Hint Solution"
    assert "def displayed(data):\n    return new_output" in unescape(text)


def test_a_drawing_beside_the_notebook_is_put_into_the_page(page):
    drawing = base64.b64encode(b"<svg xmlns='http://www.w3.org/2000/svg'><circle r='1'/></svg>").decode()
    assert f'<img src="data:image/svg+xml;base64,{drawing}" alt="The model' in page
    assert page.count("<img") == 2  # and the pixel of a figure; the picture from elsewhere is gone


def test_a_picture_from_above_the_notebooks_folder_is_not(tmp_path):
    (tmp_path / "notes").mkdir()
    (tmp_path / "private.png").write_bytes(b"x")
    for text in ("![x](../private.png)", '<img src="../private.png">', f"![x]({tmp_path}/private.png)"):
        assert "img" not in markdown(text, path=str(tmp_path / "notes"))
        assert "img" not in markdown(text)
    assert markdown('<b><img src="private.png"></b> ![x](private.png)', path=str(tmp_path)).count("data:image/png") == 2


def test_an_attachment_is_shown_and_a_missing_one_leaves_the_text():
    assert PIXEL in markdown("![x](attachment:a.png)", attachments={"a.png": {"image/png": PIXEL}})
    assert markdown("![x](attachment:b.png) <i>", attachments={}) == "<pre>![x](attachment:b.png) &lt;i&gt;</pre>"


@pytest.mark.parametrize(
    ("tex", "read"),
    [
        (r"W_{i-1} - \eta\,\nabla L", "W<sub>i-1</sub> - η ∇ L"),
        (r"e^{x_j - m'}", "e<sup>x<sub>j</sub> - m'</sup>"),
        (r"\frac{a}{b} < \sqrt{N}", "(a)/(b) &lt; √(N)"),
        (r"\frac12 a, \qquad b", "1/2 a,   b"),
        (r"P = \mathrm{softmax}(S)", "P = softmax(S)"),
        (r"\sum_c w_c \bar O_c", "∑<sub>c</sub> w<sub>c</sub> O\u0304<sub>c</sub>"),
        (r"V^\top \cdot \unheard", "V<sup>\N{DOWN TACK}</sup> · unheard"),
    ],
)
def test_a_formula_can_be_read_without_mathjax_and_keeps_its_source(tex, read):
    assert formula(tex) == read
    assert f">{read}</span>" in inline(f"${tex}$")
    assert f'title="{tex}"' in unescape(inline(f"$${tex}$$"))


def test_outputs_are_escaped(page):
    assert "<script>alert" not in page
    assert "whole line\n&lt;script&gt;alert(2)&lt;/script&gt;" in page
    assert "an early half" not in page
    assert '<pre class="error">ValueError: &lt;bad&gt;</pre>' in page
    assert "IntSlider" not in page
    assert "<strong>claim a</strong>: 5 of 5 <b>x</b>" in page


def test_tables_keep_their_shape_only(page):
    body = '<tbody><tr><th colspan="2">window</th><td><a>8</a></td></tr></tbody>'
    assert f'<table class="dataframe">{body}</table>' in page
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
        assert exercise_states([cell]) == [("Exercise 1 (reach)", state)]
    assert exercise_states([code("x", printed("the answer: correct"))]) == []


def test_what_one_cell_prints_in_several_goes_is_one_block(page):
    assert "<pre>1 of 2\n2 of 2</pre>" in page


def test_a_long_stream_is_folded(page):
    cells = report.environment().get_template("cells.html.j2").module
    assert cells.stream("a\nb") == "<pre>a\nb</pre>"
    assert cells.stream("line\n" * 99).startswith("<details><summary>100 lines of output</summary>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<b>bold", "<b>bold</b>"),
        ("<table><td>1</tr>", "<table><tbody><tr><td>1</td></tr></tbody></table>"),
        ("a < b & c", "a &lt; b &amp; c"),
        ("<svg><script>x</script></svg>after", "after"),
        ("<style>x", ""),
        ("<a href='javascript:alert(1)' title='t'>x</a>", '<a title="t">x</a>'),
        ("<a href=' JaVaScRiPt:alert(1)'>x</a><a href='https://x.example'>y</a>", "<a>x</a><a>y</a>"),
        ("<img src='https://x.example/y.png'><img src=y.png><img src='file:///etc/passwd'>", ""),
        ("<scr<script></script>ipt>x</script>", "x"),
        ("<b onmouseover=alert(1) style='color:red' id=figure-1>x</b>", "<b>x</b>"),
        ("<details><summary>a</summary>b</details>", "<details><summary>a</summary>b</details>"),
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
