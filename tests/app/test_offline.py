"""The real notebooks without a network: nothing is asked of it, kernels listen here only, nothing is told of here."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from real_notebooks import SECRET

from lablib.core.store import PROJECT

pytestmark = pytest.mark.slow

ASKS = "import socket; socket.create_connection(('198.51.100.1', 80), timeout=5)"


def test_all_notebooks_run_and_ask_nothing_of_a_network(smoke_run):
    assert smoke_run.code == 0, smoke_run.text
    assert smoke_run.lab.statuses() == {path.stem: "ok" for path in smoke_run.notebooks}
    assert smoke_run.asked.read_text() == ""


def test_whoever_asked_would_have_been_heard(smoke_run, tmp_path):
    environ = smoke_run.lab.environ | {"ASKED": str(tmp_path / "control")}
    subprocess.run([*smoke_run.lab.prefix, sys.executable, "-c", ASKS], env=environ, capture_output=True)
    assert "socket.connect 198.51.100.1\n" in (tmp_path / "control").read_text()


def test_there_was_no_network(smoke_run):
    prefix = smoke_run.lab.prefix
    if not prefix:
        pytest.skip("this system permits no network namespaces; that nothing was asked of the network is tested")
    seen = subprocess.run([*prefix, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
    assert [line.split(":")[0].strip() for line in seen.splitlines()[2:]] == ["lo"]


def test_every_cell_ran_without_an_error_or_a_warning(smoke_run):
    for name, cells in smoke_run.executed().items():
        assert cells, name
        assert not [cell["source"] for cell in cells if "".join(cell["source"]).strip() and not cell["execution_count"]]
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert not [one for one in outputs if one["output_type"] == "error" or one.get("name") == "stderr"], name


def test_the_report_shows_every_notebook_and_asks_nothing_from_outside(smoke_run):
    page = (smoke_run.folder / "report.html").read_text()
    own, _, _ = page.partition("plotly.js v")  # what follows is plotly's own code
    for path in smoke_run.notebooks:
        assert f'<section id="{path.stem}">' in own
    places = re.findall(r"""<(\w+)\b[^>]*\s(?:src|href|srcset|action|poster)=["']?([^\s"'>]+)""", own)
    assert places
    inside = ("#", "data:image/")  # a link out of the page is followed by a click alone
    assert not [place for tag, place in places if not place.startswith(inside + ("https://",) * (tag == "a"))]
    assert own.count("data-figure=") >= len(smoke_run.notebooks)


def test_nothing_that_was_kept_names_this_machine_or_holds_a_secret(smoke_run):
    lab, run = smoke_run.lab, sorted(smoke_run.folder.iterdir())
    arms = sorted(lab.home.rglob("*.json"))
    assert arms
    saved = lab.home / "saved"  # models, whose configurations lie beside their weights
    assert {json.loads(path.read_text())["status"] for path in arms if saved not in path.parents} == {"ok"}
    executed = {path.name for path in smoke_run.notebooks}
    assert {path.name for path in run} == executed | {"run.json", "report.html"}
    for path in [*arms, *run]:
        text = path.read_text().partition("plotly.js v")[0]
        for leak in (str(lab.folder), str(PROJECT), f"{Path.home()}/", sys.prefix, sys.base_prefix, SECRET):
            assert leak not in text, f"{path.name} holds {leak}"
