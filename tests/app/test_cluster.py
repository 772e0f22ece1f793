"""`--on ADDRESS`, with a real scheduler and real workers on this machine; each way in which they can fail."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from lablib.core import away, cluster
from lablib.core.provenance import pinned
from lablib.core.store import Store

from .conftest import PATIENCE, write_notebook
from .dask_processes import SHORT, Dask
from .tiny_lab import git, lab, make_checkout

pytestmark = pytest.mark.slow
RUN_ALL = "from waiting import *; print(run_all(waiting, arms(scale))[['number', 'total', 'threads']].to_json())"


@pytest.fixture
def dask(own_lab):
    """Processes of Dask; those of `own_lab` beside them are held to instruction sets, as `lab record` holds its own."""
    own_lab.environ |= SHORT | pinned({}) | {"PYTHONPATH": str(own_lab.folder)}
    dask = Dask(own_lab.folder, own_lab.tag)
    write_notebook(own_lab.folder, "waits", RUN_ALL)
    yield dask
    dask.end()


def printed(own_lab) -> pd.DataFrame:
    text = "".join(
        out.text
        for cell in own_lab.executed("waits").cells
        for out in cell.get("outputs", [])
        if out.get("name") == "stdout"
    )
    return pd.DataFrame(json.loads(text))


def stored(own_lab) -> dict[str, str]:
    return {path.stem: json.loads(path.read_text())["status"] for path in own_lab.home.glob("testing/waiting/*.json")}


def run(own_lab, *more: str) -> tuple[int, str]:
    return own_lab.run("run", "waits.ipynb", "--scale", "lab", "--out", "runs", *more)


def test_results_and_kept_files_are_those_of_the_embedded_pool_to_the_bit(own_lab, dask):
    """Workers have no store of their own: theirs is a place that cannot be written."""
    address = dask.scheduler()
    for _ in range(2):
        dask.worker(address, nanny=True)
    dask.go()
    code, text = run(own_lab, "--on", address)
    assert code == 0, text
    for path in own_lab.home.glob("testing/waiting/*.json"):
        made = json.loads(path.read_text())["provenance"]["instructions"]
        assert (made["mkl"], made["onednn"]) == (pinned({}).get("MKL_CBWR"), pinned({}).get("ONEDNN_MAX_CPU_ISA"))
    away, files = printed(own_lab), {path.name: path.read_bytes() for path in own_lab.home.glob("models/x/*")}
    assert len(stored(own_lab)) == len(files) == 6
    assert text.count("\n") < 12, "Dask says more than a person asked for"
    assert not list(dask.folder.glob("dask/**/lab-*"))
    own_lab.environ["LAB_HOME"] = str(own_lab.folder / "another")
    code, text = run(own_lab)
    assert code == 0, text
    pd.testing.assert_frame_equal(printed(own_lab), away, check_exact=True)
    assert {path.name: path.read_bytes() for path in (own_lab.folder / "another").glob("models/x/*")} == files


def test_arms_of_a_worker_that_dies_go_to_another_and_none_is_lost_or_kept_twice(own_lab, dask):
    address = dask.scheduler()
    victim, other = dask.worker(address), dask.worker(address)
    process = own_lab.start("run", "waits.ipynb", "--scale", "lab", "--out", "runs", "--on", address)
    own_lab.wait_until(lambda: any(victim.pid in pids for number, pids in dask.begun().items() if number), process)
    own_lab.wait_until(lambda: len(stored(own_lab)) == 1, process)
    victim.kill()
    lost = {number for number, pids in dask.begun().items() if victim.pid in pids and number}
    dask.go()
    code, text = own_lab.finish(process)
    assert code == 0, text
    assert set(stored(own_lab).values()) == {"ok"}
    assert len(stored(own_lab)) == len(printed(own_lab)) == 6
    assert lost
    assert len(dask.begun()[0]) == 1  # it was at home
    assert all(other.pid in dask.begun()[number] for number in lost)


def test_without_its_scheduler_a_run_ends_with_a_line_and_resume_does_the_rest(own_lab, dask):
    address = dask.scheduler()
    dask.worker(address)
    process = own_lab.start("run", "waits.ipynb", "--scale", "lab", "--out", "runs", "--on", address)
    own_lab.wait_until(lambda: len(stored(own_lab)) == 1 and len(dask.begun()) == 2, process)
    dask.started[0].kill()
    code, text = own_lab.finish(process)
    assert code == 1
    assert own_lab.errors()["waits"].count("\n") == 0
    assert f"the Dask scheduler at {address} is gone; finished arms are kept: run again" in own_lab.errors()["waits"]
    assert len(stored(own_lab)) == 1
    dask.end()
    dask.go()
    (dask.folder / "scheduler.json").unlink()
    address = dask.scheduler()
    dask.worker(address)
    code, text = own_lab.run("run", "--resume", "last", "--out", "runs", "--on", address)
    assert code == 0, text
    assert len(stored(own_lab)) == 6
    assert len(dask.begun()[0]) == 1  # it was finished


def test_a_worker_that_comes_late_takes_its_share(own_lab, dask):
    address = dask.scheduler()
    dask.worker(address)
    process = own_lab.start("run", "waits.ipynb", "--scale", "lab", "--out", "runs", "--on", address)
    own_lab.wait_until(lambda: len(dask.begun()) == 2, process)
    late = dask.worker(address)
    own_lab.wait_until(lambda: any(late.pid in pids for pids in dask.begun().values()), process)
    dask.go()
    code, text = own_lab.finish(process)
    assert code == 0, text
    assert len(stored(own_lab)) == 6


def test_workers_that_all_go_are_missed_after_a_while(own_lab, dask):
    address = dask.scheduler()
    worker = dask.worker(address)
    process = own_lab.start("run", "waits.ipynb", "--scale", "lab", "--out", "runs", "--on", address)
    own_lab.wait_until(lambda: len(dask.begun()) == 2, process)
    worker.kill()
    code, _ = own_lab.finish(process)
    assert code == 1
    assert f"the Dask scheduler at {address} has had no workers for 3 s; finished arms" in own_lab.errors()["waits"]


@pytest.mark.parametrize(
    ("how", "said"),
    [({"WEATHER": "rain"}, "differs from this process: weather: rain, here none;"), ({"threads": 2}, "has 2 threads")],
)
def test_a_worker_that_comes_late_and_is_not_as_the_others_stops_the_sweep_by_name(own_lab, dask, how, said):
    address = dask.scheduler()
    dask.worker(address)
    process = own_lab.start("run", "waits.ipynb", "--scale", "lab", "--out", "runs", "--on", address)
    own_lab.wait_until(lambda: len(dask.begun()) == 2, process)
    dask.worker(address, **how)
    code, _ = own_lab.finish(process)
    assert code == 1
    assert said in own_lab.errors()["waits"]
    dask.go()


def refused(own_lab, *arguments: str) -> str:
    """The one line with which a command refuses before anything runs."""
    code, text = own_lab.run(*arguments)
    assert code == 2, text
    assert text.startswith("lab: ")
    assert text.count("\n") == 1
    assert not list(own_lab.out.glob("*/*.ipynb"))
    assert not own_lab.home.exists() or not stored(own_lab)
    return text


def test_an_address_without_a_scheduler_is_refused(own_lab, dask):
    for address in ("tcp://127.0.0.1:9", "here", "tcp://127.0.0.1"):
        assert f"there is no Dask scheduler at {address!r}" in refused(own_lab, "run", "waits.ipynb", "--on", address)
    assert "--on is empty; name a Dask scheduler" in refused(own_lab, "run", "waits.ipynb", "--on", "")


def test_a_scheduler_without_workers_or_with_threads_for_workers_is_refused(own_lab, dask):
    address = dask.scheduler()
    text = refused(own_lab, "run", "waits.ipynb", "--on", address)
    assert f"has no workers, and no worker came in 3 s; start some: dask worker {address} --nthreads 1" in text
    dask.worker(address, threads=2)
    assert "has 2 threads" in refused(own_lab, "run", "waits.ipynb", "--on", address)


def test_a_worker_with_a_lab_that_knows_nothing_of_this_is_refused(own_lab, dask):
    address = dask.scheduler()
    other = own_lab.folder / "other"
    for package in (other / "lablib", other / "lablib" / "core"):
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
    dask.worker(address, PYTHONPATH=str(other))
    assert "cannot run this lab: ModuleNotFoundError" in refused(own_lab, "run", "waits.ipynb", "--on", address)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    return make_checkout(tmp_path_factory.mktemp("project"))


@pytest.fixture
def beside(checkout, tmp_path):
    """Processes of Dask whose code is a checkout's."""
    dask = Dask(tmp_path, "beside", checkout)
    yield dask
    dask.end()


def test_a_record_from_workers_is_that_of_this_machine(checkout, beside):
    address = beside.scheduler()
    beside.worker(address)
    code, text = lab(checkout, "record", "--workers", "1", "--on", address, **SHORT)
    assert code == 0, text
    assert "3 arms recorded, 3 of them new" in text
    results = checkout / "notebooks" / "results"
    table = pd.read_csv(results / "longcontext" / "tiny.csv")
    assert len(list((results / "checkpoints").iterdir())) == 1  # the weights that an arm asks to keep
    code, text = lab(checkout, "verify", "--arms", "3", "--workers", "1")
    assert (code, "3 arms: 3 equal" in text) == (0, True), text
    code, text = lab(checkout, "verify", "--arms", "3", "--on", "local", "--workers", "2", **SHORT)
    assert (code, "3 arms: 3 equal" in text, "Traceback" in text) == (0, True, False), text
    assert table["square"].tolist() == [0, 1, 4]


def test_a_worker_of_another_commit_or_with_changed_sources_is_refused(checkout, beside, tmp_path):
    address = beside.scheduler()
    other = tmp_path / "other"
    git(checkout, "clone", "--quiet", str(checkout), str(other))
    (other / "lablib" / "new.py").write_text("x = 1\n")
    worker = beside.worker(address, PYTHONPATH=str(other))
    code, text = lab(checkout, "verify", "--on", address, **SHORT)
    assert (code, text.count("\n")) == (2, 1)
    assert "differs from this process: code: the same commit with other sources" in text
    git(other, "add", ".")
    git(other, "commit", "--quiet", "-m", "another")
    worker.kill()
    worker.wait()
    beside.worker(address, PYTHONPATH=str(other))
    code, text = lab(checkout, "verify", "--on", address, **SHORT)
    assert (code, text.count("\n")) == (2, 1)
    assert f"commit: {git(other, 'rev-parse', '--short=12', 'HEAD').strip()}, here" in text


OTHER_PANDAS = """
import importlib.metadata as known
own = known.version
known.version = lambda name: "0.0" if name == "pandas" else own(name)
"""
OTHER_CORPUS = """
import sysconfig
own = sysconfig.get_path
sysconfig.get_path = lambda name, *more, **named: HERE if name == "stdlib" else own(name, *more, **named)
"""


@pytest.mark.parametrize(("change", "said"), [(OTHER_PANDAS, "pandas: 0.0, here"), (OTHER_CORPUS, "corpus: ")])
def test_a_worker_of_another_version_or_corpus_is_refused(own_lab, dask, change, said):
    other = own_lab.folder / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text(change.replace("HERE", repr(str(other))))
    address = dask.scheduler()
    dask.worker(address, PYTHONPATH=f"{other}:{own_lab.folder}")
    assert f"differs from this process: {said}" in refused(own_lab, "run", "waits.ipynb", "--on", address)


def test_without_the_extra_a_line_says_how_to_install_it(own_lab):
    (own_lab.folder / "sitecustomize.py").write_text("import sys; sys.modules['distributed'] = None\n")
    own_lab.environ["PYTHONPATH"] = str(own_lab.folder)
    write_notebook(own_lab.folder, "waits", "print(1)")
    for address in ("tcp://127.0.0.1:9", "local"):
        text = refused(own_lab, "run", "waits.ipynb", "--on", address)
        assert "need Dask, which is not installed: pip install -e '.[cluster]'" in text


def test_against_another_commit_is_computed_here(own_lab):
    assert "leave --on out" in refused(own_lab, "verify", "--against", "HEAD", "--on", "local")


def test_nothing_imports_dask_where_nobody_asks_for_it(tmp_path):
    (tmp_path / "waiting.py").write_text((Dask(tmp_path, "none").folder / "waiting.py").read_text())
    (tmp_path / "go").touch()
    lines = "import sys, lablib.app.cli, lablib.app.record, lablib.app.verify; from waiting import *"
    sweep = "run_all(waiting, arms('lab')[:2]); print({'dask', 'distributed'} & set(sys.modules))"
    code = f"{lines}\nif __name__ == '__main__':\n    {sweep}\n"
    (tmp_path / "script.py").write_text(code)
    environ = os.environ | {"LAB_HOME": str(tmp_path / "home"), "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout == "set()\n", done.stderr
    assert len(Store(tmp_path / "home").finished("testing/waiting")) == 2


@pytest.mark.parametrize("place", ["../x", "/x", "models/../../x"])
def test_no_file_comes_home_outside_of_home(tmp_path, place):
    with pytest.raises(ValueError, match="below LAB_HOME"):
        cluster._inside(tmp_path, place)


def test_the_corpus_must_agree():
    from lablib.data import text

    assert cluster._agreed["corpus"] is text.corpus
    with pytest.raises(away.Unusable, match=r"worker w differs .*corpus: b, here a"):
        away.refuse_difference("w", {"corpus": "a"}, {"corpus": "b"})
