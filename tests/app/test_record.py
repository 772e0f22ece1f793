"""`lab record`: committed code only, each arm once, and nothing in the record that names this machine."""

import json
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
import pytest

from lablib.app import drawing, record
from lablib.app.errors import BadInput
from lablib.core.experiment import Experiment, all_experiments
from lablib.core.store import PROJECT, Arm, Record, Store

from .tiny_lab import experiments, git, lab, make_checkout


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Path:
    return make_checkout(tmp_path_factory.mktemp("project"))


@pytest.fixture(scope="module")
def recorded(project) -> tuple[Path, tuple[int, str], tuple[int, str]]:
    """A recording in which an arm fails, and the next one, which computes the rest."""
    broken = lab(project, "record", "--workers", "1", BREAK="2")
    return project, broken, lab(project, "record", "--workers", "1")


@pytest.mark.slow
def test_what_is_finished_is_written_and_the_rest_comes_next_time(recorded):
    _, (first, text), (second, more) = recorded
    assert first == 1
    assert "ValueError: as asked" in text
    assert "longcontext/tiny: 2 arms recorded, 2 of them new, 1 missing" in text
    assert second == 0, more
    assert "longcontext/tiny: 3 arms recorded, 1 of them new, 0 missing" in more


@pytest.mark.slow
def test_the_record_says_which_commit_made_it_and_names_no_folder(recorded):
    project = recorded[0]
    results = project / "notebooks" / "results"
    lines = (results / "longcontext" / "tiny.jsonl").read_text()
    head = git(project, "rev-parse", "--short=12", "HEAD").strip()
    for line in lines.splitlines():
        assert json.loads(line)["provenance"]["commit"] == head
        assert json.loads(line)["provenance"]["dirty"] is False
    assert str(project) not in lines
    assert (results / "longcontext" / "tiny.csv").read_text().count("\n") == 4


@pytest.mark.slow
def test_checkpoints_that_ask_for_it_lie_beside_the_results(recorded):
    results = recorded[0] / "notebooks" / "results"
    facts = {arm.config["number"]: arm for arm in Record(results).load("longcontext/tiny")}
    assert "checkpoint" not in facts[0].facts
    place = facts[1].facts["checkpoint"]
    assert place == f"checkpoints/{facts[1].digest}.safetensors"
    assert (results / place).read_bytes() == b"weights 1"
    assert len(list((results / "checkpoints").iterdir())) == 1


@pytest.mark.slow
def test_the_worktree_is_gone_and_the_checkout_untouched(recorded):
    project = recorded[0]
    assert len(git(project, "worktree", "list").splitlines()) == 1
    assert git(project, "status", "--porcelain").split() == ["??", "notebooks/"]


@pytest.mark.slow
def test_an_arm_of_uncommitted_code_is_not_recorded_but_computed_again(recorded):
    project = recorded[0]
    results, kept = project / "notebooks" / "results", Record(project / "notebooks" / "results")
    first, *others = kept.load("longcontext/tiny")
    kept.save("longcontext/tiny", others)
    path = project / ".lab" / "record" / "longcontext" / "tiny" / f"{first.digest}.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"provenance": {"commit": "0123456789ab", "dirty": True}}))
    code, text = lab(project, "record", "--partial")
    assert (code, "2 arms recorded, 0 of them new, 1 missing" in text) == (1, True), text
    code, text = lab(project, "record", "--workers", "1")
    assert (code, "3 arms recorded, 1 of them new, 0 missing" in text) == (0, True), text
    assert all(record.from_commit(one) for one in Record(results).load("longcontext/tiny"))


@pytest.mark.slow
def test_columns_of_the_configuration_alone_are_counted_again_and_nothing_else_changes(recorded):
    project, name = recorded[0], "longcontext/tiny"
    results, path = project / "notebooks" / "results", project / "lablib" / "longcontext" / "experiments.py"
    before, bytes_before = Record(results).load(name), (results / f"{name}.csv").read_bytes()
    assert "3 arms counted again, 0 of them changed" in lab(project, "record", "--recount")[1]
    path.write_text(experiments(factor=4).replace("2 * cfg.number", "5 * cfg.number"))
    assert lab(project, "record", "--recount")[0] == 2, "of committed code only"
    git(project, "commit", "--quiet", "-am", "counted otherwise")
    assert (results / f"{name}.csv").read_bytes() == bytes_before
    code, text = lab(project, "record", "--recount", name)
    assert (code, "3 arms counted again, 2 of them changed" in text) == (0, True), text
    head = git(project, "rev-parse", "--short=12", "HEAD").strip()
    for old, new in zip(before, Record(results).load(name), strict=True):
        number = old.config["number"]
        assert new.table["work"].tolist() == [5 * number]
        assert new.table["share"].tolist() == [float(f"{4 / 3 * number:.6g}")]
        rest = old.table.columns.drop(["work", "share"])
        pd.testing.assert_frame_equal(new.table[rest], old.table[rest], check_exact=True)
        assert list(new.table.columns) == list(old.table.columns)
        marked = {"recounted": {"commit": head, "before": {"work": 2 * number, "share": old.table["share"][0]}}}
        assert new.facts == (old.facts if number == 0 else dropped_fingerprint(old.facts) | marked)
        assert new.header() | {"facts": 0} == old.header() | {"facts": 0}
    after = {file.name: file.read_bytes() for file in (results / "longcontext").iterdir()}
    assert "3 arms counted again, 0 of them changed" in lab(project, "record", "--recount")[1]
    assert {file.name: file.read_bytes() for file in (results / "longcontext").iterdir()} == after


def dropped_fingerprint(facts: dict) -> dict:
    return {key: value for key, value in facts.items() if key != "fingerprint"}


@pytest.mark.slow
def test_arms_no_longer_asked_for_are_dropped_and_uncommitted_code_is_refused(recorded):
    project = recorded[0]
    path = project / "lablib" / "longcontext" / "experiments.py"
    path.write_text(experiments(numbers=1))
    code, text = lab(project, "record")
    assert code == 2
    assert text.startswith("lab: `lab record` records committed code only; commit or stash first: lablib/longcontext/")
    git(project, "commit", "--quiet", "-am", "fewer arms")
    code, text = lab(project, "record", "--partial", "longcontext/tiny")
    assert code == 0, text
    assert "1 arms recorded, 0 of them new, 0 missing; dropped, as no longer asked for: " in text
    results = project / "notebooks" / "results"
    assert [arm.config["number"] for arm in Record(results).load("longcontext/tiny")] == [0]
    assert list((results / "checkpoints").iterdir()) == []


def arm(digest: str, **more) -> Arm:
    fields = {"experiment": "longcontext/tiny", "version": 1, "config": {}, "status": "ok", "error": None, "facts": {}}
    fields |= {"cpu_seconds": 1.0, "provenance": {}, "table": pd.DataFrame({"x": [1.5]}), "digest": digest} | more
    return Arm(**fields)


def test_merge_keeps_the_recorded_arm_and_the_wanted_order():
    old, new = arm("a", cpu_seconds=1.0), arm("a", cpu_seconds=2.0)
    merged = record.merge([old, arm("gone")], [new, arm("b")], ["b", "a", "missing", "a"])
    assert [one.digest for one in merged] == ["b", "a"]
    assert merged[1] is old


def test_only_good_arms_of_this_version_are_current():
    experiment = Experiment(lambda cfg: None, "longcontext/tiny", 1, None)
    arms = [arm("a"), arm("b", version=0), arm("c", status="failed", table=None)]
    assert [one.digest for one in experiment.current(arms)] == ["a"]


def test_an_unknown_experiment_is_refused():
    known = {"longcontext/tiny": Experiment(lambda cfg: None, "longcontext/tiny", 1, None)}
    with pytest.raises(BadInput, match="expected one of: longcontext/tiny"):
        record.choose(known, ["seesaw"])
    assert record.choose(known, []) == list(known.values())


def test_a_large_or_lost_checkpoint_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_HOME", str(tmp_path))
    with_model = arm("a", facts={"checkpoint": "run", "keep_checkpoint": True})
    with pytest.raises(BadInput, match="its checkpoint is gone"):
        record.keep_checkpoint(with_model, tmp_path / "results")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "model.safetensors").write_bytes(b"\0" * record.LARGEST_CHECKPOINT)
    with pytest.raises(BadInput, match="over 1 MB"):
        record.keep_checkpoint(with_model, tmp_path / "results")


def test_the_code_must_be_the_worktrees(tmp_path):
    record.check_origin(PROJECT)
    with pytest.raises(BadInput, match="another lablib than the committed one"):
        record.check_origin(tmp_path)


def test_a_folder_without_a_commit_of_its_own_is_refused(tmp_path):
    """An archive of the lab, unpacked inside another repository; then with its code in that one."""
    root = tmp_path / "lab"
    (root / "lablib" / "core").mkdir(parents=True)
    (root / "lablib" / "core" / "provenance.py").touch()
    with pytest.raises(BadInput, match="needs a git checkout of the lab, and its commit is unknown: not a git rep"):
        record.refuse_unless_clean(root)
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "another project")
    for _ in range(2):
        with pytest.raises(BadInput, match=r"commit is unknown: .* another project's; git clone the lab"):
            record.refuse_unless_clean(root)
        with pytest.raises(BadInput, match=r"the commits of the lab are unknown: .* another project's"):
            record.commit_of(root, "HEAD")
        git(tmp_path, "add", ".")
        git(tmp_path, "commit", "--quiet", "--allow-empty", "-m", "the lab in it")


@pytest.mark.parametrize(("commit", "dirty", "good"), [("abc", False, True), ("abc", None, False), (None, None, False)])
def test_an_arm_whose_code_may_have_been_changed_is_not_recorded(commit, dirty, good):
    assert record.from_commit(arm("a", provenance={"commit": commit, "dirty": dirty})) is good


def test_an_image_goes_with_the_digest_of_its_table(tmp_path, monkeypatch):
    kept = Record(tmp_path)
    kept.save("longcontext/tiny", [arm("a")])
    experiment = Experiment(lambda cfg: None, "longcontext/tiny", 1, None)

    class Figure(go.Figure):
        def to_image(self, *, height, **_):
            return b"png of %d pixels" % height

    figure = Figure(layout={"height": 700})
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda name: None if name == "kaleido" else object())
    with pytest.raises(BadInput, match=r"pip install -e '\.\[images\]'"):
        drawing.draw(experiment, kept)
    monkeypatch.setattr(drawing.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(drawing, "figure_of", lambda experiment, record: figure)
    drawing.draw(experiment, kept)
    assert (tmp_path / "images" / "longcontext-tiny.png").read_bytes() == b"png of 700 pixels"
    facts = json.loads((tmp_path / "images" / "longcontext-tiny.json").read_text())
    assert facts["table_sha256"] == drawing.table_digest(kept, "longcontext/tiny")


def gpu_job(tmp_path: Path) -> dict:
    return {"tree": str(PROJECT), "results": str(tmp_path), "experiments": ["speed/gpu"], "partial": False} | {
        "images": False,
        "workers": 2,
        "live": False,
    }


def test_what_needs_a_gpu_is_left_out_where_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "has_gpu", lambda: False)
    monkeypatch.setattr(record, "compute_missing", lambda *_, **__: pytest.fail("an arm was computed"))
    assert record.record_all(gpu_job(tmp_path)) == 0
    assert capsys.readouterr().out == "speed/gpu: needs a GPU, and there is none here; no arm is computed\n"


def test_arms_that_came_from_a_machine_with_a_gpu_are_recorded_where_there_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(record, "has_gpu", lambda: False)
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "home"))
    gpu = all_experiments()["speed/gpu"]
    cfg, made = gpu.arms("full")[0], {"commit": "0123456789ab", "dirty": False, "device": "cuda"}
    named = {"experiment": gpu.name, "version": gpu.version, "digest": gpu.digest(cfg), "config": cfg.flat()}
    came = {"status": "ok", "error": None, "cpu_seconds": 1.0, "provenance": made, "facts": {}}
    Store(tmp_path / "home").save(Arm(**named, **came, table=pd.DataFrame({"seconds": [0.5]})))
    assert record.record_all(gpu_job(tmp_path / "results")) == 0
    assert "1 arms recorded, 1 of them new" in capsys.readouterr().out
    (found,) = Record(tmp_path / "results").load("speed/gpu")
    assert found.table["seconds"].tolist() == [0.5]


def test_arms_that_time_a_gpu_run_one_after_another_in_one_process(tmp_path, monkeypatch):
    told = {}
    monkeypatch.setattr(record, "has_gpu", lambda: True)
    monkeypatch.setattr(record, "run_all", lambda *_, **how: told.update(how))
    record.record_all(gpu_job(tmp_path))
    assert told["in_process"]
