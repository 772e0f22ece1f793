"""A full disk, under the runs or under the store: told in one line, nothing lost, and the run goes on after."""

import contextlib
import dataclasses
import subprocess
from collections.abc import Iterator

import pytest

from .conftest import RUN_SWEEP, Lab, printed, write_notebook, write_sweep

pytestmark = pytest.mark.slow

# too little for the notebook and the arm; enough for both but not for the report; enough for all
STAGES = ("900k", "5m", "30m")
WIDE = """\
for _ in range(30):
    print("x" * 50_000)"""
FIGURE = "import plotly.graph_objects as go; go.Figure(go.Scatter(y=[1, 2]))"
LARGE_ARM = "if cfg.number == 2: return pd.DataFrame({'third': [1 / 3] * 60_000})"


@dataclasses.dataclass
class SmallDisk:
    """Makes room short for a lab: by small file systems in a namespace of their own, else by the size of a file."""

    lab: Lab
    holder: subprocess.Popen | None = None

    def mount(self, how: list[str]) -> bool:
        """Put a small file system under runs/ and home/, in a namespace that ends with this test."""
        for place in (self.lab.out, self.lab.home):
            place.mkdir(exist_ok=True)
        script = 'for place; do mount -t tmpfs -o size=900k lab "$place" || exit 1; done; echo up; exec cat'
        command = [*how, "sh", "-c", script, "sh", str(self.lab.out), str(self.lab.home)]
        with contextlib.suppress(FileNotFoundError):  # no `unshare` here
            self.holder = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
            if self.holder.stdout.readline() == "up\n":
                self._enter("--user" in how)
                return True
            self.end()
        return False

    def _enter(self, user: bool) -> None:
        into = ["nsenter", f"--target={self.holder.pid}", "--mount"]
        into += ["--user", "--preserve-credentials"] if user else []
        self.lab.prefix = [*into, "sh", "-c", 'cd "$0" && exec "$@"', str(self.lab.folder)]
        self.lab.root = self.lab.root / "proc" / str(self.holder.pid) / "root"

    def resize(self, stage: int) -> None:
        if self.holder:
            for place in (self.lab.out, self.lab.home):
                command = ["mount", "-o", f"remount,size={STAGES[stage]}", str(place)]
                subprocess.run([*self.lab.prefix, *command], check=True)
        else:
            limit = int(STAGES[stage][:-1]) * {"k": 1 << 10, "m": 1 << 20}[STAGES[stage][-1]]
            self.lab.prefix = ["prlimit", f"--fsize={limit}"]

    def end(self) -> None:
        if self.holder:
            self.holder.communicate()
            self.holder = None


@pytest.fixture(scope="module")
def disk(lab: Lab) -> Iterator[SmallDisk]:
    found = SmallDisk(lab)
    found.mount(["unshare", "--mount"]) or found.mount(["unshare", "--user", "--map-root-user", "--mount"])
    yield found
    found.end()


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(lab, disk):
    log = write_sweep(lab.folder, LARGE_ARM)
    write_notebook(lab.folder, "wide", "print('an early result')", WIDE, FIGURE)
    write_notebook(lab.folder, "sweeps", RUN_SWEEP)
    disk.resize(0)
    names = ["wide.ipynb", "sweeps.ipynb", "--workers", "2"]
    code, text = lab.run("run", *names, "--scale", "smoke", "--out", str(lab.out))
    assert (code, lab.last_run()["status"]) == (1, "failed"), text
    assert lab.statuses() == {"wide": "failed", "sweeps": "failed"}
    for name, lost in (("wide", "wide.ipynb"), ("sweeps", ".json")):
        assert "the disk is full (" in lab.errors()[name]
        assert f"{lost} cannot be written; make room and go on" in lab.errors()[name]
    assert f"lab run --resume {lab.last_run()['id']}" in text
    assert "Traceback" not in text
    assert printed(lab.executed("wide")).startswith("an early result\n")
    assert lab.left_over() == []
    assert log.read_text().split() == ["0", "1", "2"]
    assert len(kept_arms(lab)) == 2

    disk.resize(1)
    code, text = lab.run("run", "--resume", "last", "--out", str(lab.out))
    assert (code, lab.last_run()["status"]) == (1, "ok"), text
    assert log.read_text().split() == ["0", "1", "2", "2", "3"]
    again = f"report.html cannot be written; make room and go on: lab report {lab.last_run()['id']}"
    assert again in text

    disk.resize(2)
    code, text = lab.run("report", "last", "--out", str(lab.out))
    assert code == 0, text
    files = sorted(path.name for path in lab.seen(lab.out / lab.last_run()["id"]).iterdir())
    assert files == ["report.html", "run.json", "sweeps.ipynb", "wide.ipynb"]  # no torn neighbour, no reserve


def kept_arms(lab: Lab) -> list[str]:
    """The names in the store; what is torn would lie beside the arms."""
    return sorted(path.name for path in lab.seen(lab.home / "testing" / "sweep").iterdir())


def test_without_any_room_nothing_is_run_and_nothing_is_left(lab, disk):
    if disk.holder is None:
        pytest.skip("this system lets us mount nothing, so no disk can be filled to its last byte")
    fill = lab.seen(lab.out) / "fill"
    with fill.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass
    before = sorted(lab.seen(lab.out).rglob("*"))
    code, text = lab.run("run", "sweeps.ipynb", "--scale", "smoke", "--out", str(lab.out))
    assert code == 2, text
    assert text.splitlines()[-1].startswith("lab: nothing was run: the disk is full (No space left on device)")
    assert sorted(lab.seen(lab.out).rglob("*")) == before
    assert lab.left_over() == []
    fill.unlink()
