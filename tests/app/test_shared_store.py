"""One store for all: two labs at once, and arms whose files were damaged."""

import json

import pytest
from click.testing import CliRunner

from lablib.app import listing, run_state
from lablib.app.cli import main
from lablib.app.errors import BadInput
from lablib.core.experiment import all_experiments

from .conftest import RUN_SWEEP, Lab, write_notebook, write_sweep

pytestmark = pytest.mark.slow

# of four arms the first is left whole: cut off, empty, no JSON, and not even text
DAMAGES = {1: lambda data: data[: len(data) // 2], 2: lambda data: b"", 3: lambda data: b"\xff\x00 no JSON"}


@pytest.fixture(scope="module")
def twice(lab: Lab) -> list[tuple[int, str]]:
    """Two runs of one sweep, started together on one store and one folder of runs: exit codes and texts."""
    # each waits for the other in its first arm, so that they do overlap
    meet = "Path(f'here-{os.getpid()}').touch(); end = time.monotonic() + 300\n    "
    meet += "while len(list(Path().glob('here-*'))) < 2 and time.monotonic() < end: time.sleep(0.02)"
    write_sweep(lab.folder, meet)
    write_notebook(lab.folder, "sweeps", RUN_SWEEP)
    command = ["run", "sweeps.ipynb", "--scale", "smoke", "--out", str(lab.out)]
    both = [lab.start(*command), lab.start(*command)]
    return [lab.finish(process) for process in both]


def arm_files(lab: Lab):
    return sorted((lab.home / "testing" / "sweep").iterdir())


def test_two_labs_at_once_both_end_well_and_tear_nothing(lab, twice):
    assert [code for code, _ in twice] == [0, 0], twice
    runs = [json.loads(path.read_text()) for path in lab.out.glob("*/run.json")]
    assert len({run["id"] for run in runs}) == 2
    for run in runs:
        assert [one["status"] for one in run["notebooks"]] == ["ok"]
        files = sorted(path.name for path in (lab.out / run["id"]).iterdir())
        assert files == ["report.html", "run.json", "sweeps.ipynb"]
    arms = [json.loads(path.read_text()) for path in arm_files(lab)]  # and no half-written neighbour among them
    assert sorted(arm["config"]["number"] for arm in arms) == [0, 1, 2, 3]
    assert all(arm["table"] == {"third": [arm["config"]["number"] / 3]} for arm in arms)
    assert lab.left_over() == []


def test_no_arm_is_computed_more_than_once_by_each(lab, twice):
    """The labs do not wait for one another: an arm that neither has kept yet is computed by both, and is the same."""
    computed = (lab.folder / "computed.txt").read_text().split()
    assert all(1 <= computed.count(number) <= 2 for number in "0123")


def test_damaged_arms_and_only_those_are_computed_again(lab, twice):
    damaged = []
    for path in arm_files(lab):
        number = json.loads(path.read_text())["config"]["number"]
        if number in DAMAGES:
            path.write_bytes(DAMAGES[number](path.read_bytes()))
            damaged.append(str(number))
    (lab.folder / "computed.txt").unlink()
    code, text = lab.run("run", "sweeps.ipynb", "--scale", "smoke", "--out", str(lab.out))
    assert code == 0, text
    assert sorted((lab.folder / "computed.txt").read_text().split()) == sorted(damaged) == ["1", "2", "3"]
    assert all(json.loads(path.read_text())["status"] == "ok" for path in arm_files(lab))


def test_of_two_that_resume_one_run_at_once_one_does_and_the_other_is_refused(lab, twice):
    place = max(lab.out.glob("*/run.json"))
    place.write_text(place.read_text().replace('"status": "ok"', '"status": "failed"'))
    command = ["run", "--resume", "last", "--out", str(lab.out)]
    both = [lab.start(*command), lab.start(*command)]
    ended = sorted(map(lab.finish, both))
    assert [code for code, _ in ended] == [0, 2], ended
    refused = ended[1][1]
    assert refused.splitlines()[-1].startswith(f"lab: run {place.parent.name} is ")  # still running, or complete by now
    assert lab.statuses() == {"sweeps": "ok"}
    assert len(lab.last_run()["resumed"]) == 1
    assert lab.left_over() == []


def test_list_and_doctor_survive_a_damaged_store(own_store, tmp_path, monkeypatch):
    (name, experiment), *_ = all_experiments().items()
    monkeypatch.setattr(listing, "all_experiments", lambda: {name: experiment})  # the arms of all take seconds
    wanted = map(experiment.digest, experiment.arms("full"))
    for digest, content in zip(wanted, (b"", b"{", b"[]", b"\xff"), strict=False):
        path = own_store / name / f"{digest}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for second, content in enumerate((b"", b"[]", b"\xff")):
        folder = tmp_path / "runs" / f"20260101T00000{second}Z-abcd"
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(content)
    subject = name.partition("/")[0]
    for words in ([], [subject]):
        listed = CliRunner().invoke(main, ["list", *words, "--out", str(tmp_path / "runs")], catch_exceptions=False)
        assert listed.exit_code == 0
        assert subject in listed.output
    assert name in listed.output
    examined = CliRunner().invoke(main, ["doctor", "--out", str(tmp_path / "runs")], catch_exceptions=False)
    assert "own store" in examined.output
    with pytest.raises(BadInput, match=r"no readable run\.json"):
        run_state.find(tmp_path / "runs", "last")
