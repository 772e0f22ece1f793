"""A clock that is set while the lab runs, or between two runs: order, deadlines and times do not follow it."""

import shutil
import struct
import subprocess
import time
from datetime import UTC, datetime, timedelta

import pytest

from lablib.app import run_state

from .conftest import Lab, printed, write_notebook

# loaded into every process below the lab, which then sees the clock as a file sets it
CLOCK = """\
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile const double *ahead;

__attribute__((constructor)) static void begin(void) {
    int file = open(getenv("SECONDS_AHEAD"), O_RDONLY | O_CLOEXEC);
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof(double), PROT_READ, MAP_SHARED, file, 0);
    if (page == MAP_FAILED) abort();
    ahead = page;
    close(file);
}
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME && ahead) now->tv_sec += (time_t)*ahead;
    return failed;
}
time_t time(time_t *place) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (place) *place = now.tv_sec;
    return now.tv_sec;
}
int gettimeofday(struct timeval *restrict place, void *restrict zone) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    place->tv_sec = now.tv_sec;
    place->tv_usec = now.tv_nsec / 1000;
    return 0;
}
"""
HOUR, DAY = 3600, 24 * 3600
JUMPS = f"""\
import datetime, os, struct, time
began = datetime.datetime.now()
def set_clock(ahead):
    with open(os.environ["SECONDS_AHEAD"], "r+b") as file:
        file.write(struct.pack("d", ahead))
    print(round((datetime.datetime.now() - began).total_seconds() / {HOUR}))"""


@pytest.fixture(scope="module")
def settable(lab: Lab) -> Lab:
    """A lab below which the clock is what `set_clock` says, with a notebook that sets it twice and one that hangs."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler here to build a clock that can be set")
    (lab.folder / "clock.c").write_text(CLOCK)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", "clock.so", "clock.c"], cwd=lab.folder, check=True)
    (lab.folder / "ahead").write_bytes(struct.pack("d", 0))
    lab.environ = {"LD_PRELOAD": str(lab.folder / "clock.so"), "SECONDS_AHEAD": str(lab.folder / "ahead")}
    wait = "time.sleep(0.5)"
    write_notebook(lab.folder, "jumps", JUMPS, f"set_clock(-{HOUR})\n{wait}", f"set_clock({DAY})\n{wait}", "1 + 1")
    write_notebook(lab.folder, "hangs", JUMPS, f"set_clock(-{HOUR})\nopen('set', 'w').close()\ntime.sleep(3600)")
    return lab


def set_clock(lab: Lab, ahead: float) -> None:
    with (lab.folder / "ahead").open("r+b") as file:
        file.write(struct.pack("d", ahead))


def run(lab: Lab, *arguments: str) -> tuple[int, str]:
    return lab.run("run", *arguments, "--scale", "smoke", "--out", str(lab.out))


@pytest.mark.slow
def test_a_clock_set_forward_ends_no_notebook_before_its_time(settable):
    began = time.monotonic()
    code, text = run(settable, "jumps.ipynb")
    seconds = time.monotonic() - began
    assert (code, settable.statuses()) == (0, {"jumps": "ok"}), text
    assert printed(settable.executed("jumps")).split() == ["-1", "24"]  # it was set indeed
    (notebook,) = settable.last_run()["notebooks"]
    assert 0 < notebook["wall_seconds"] < seconds
    assert settable.last_run()["finished"] > settable.last_run()["started"]


@pytest.mark.slow
def test_a_clock_set_back_lets_no_notebook_live_longer(settable):
    set_clock(settable, 0)
    for seconds in (6, 18, 54, 162):  # a busy machine may need more than the first to come to the cell that hangs
        code, text = run(settable, "hangs.ipynb", "--timeout", str(seconds))
        assert (code, settable.statuses()) == (1, {"hangs": "timeout"}), text
        if (settable.folder / "set").exists():
            break
    assert (settable.folder / "set").exists()
    assert settable.left_over() == []


@pytest.mark.slow
def test_the_last_run_is_the_one_started_last_when_the_clock_was_set_back(settable):
    """The clock of the second run is a day behind that of the first."""
    lab = settable
    set_clock(lab, DAY)
    write_notebook(lab.folder, "early", "1 + 1")
    code, text = run(lab, "early.ipynb")
    assert code == 0, text
    before, kept = lab.last_run(), len(run_state.run_names(lab.out))
    set_clock(lab, 0)
    process = lab.start("run", "hangs.ipynb", "--scale", "smoke", "--out", str(lab.out))
    lab.wait_until(lambda: len(run_state.run_names(lab.out)) > kept, process)
    newest = run_state.find(lab.out, "last")
    assert newest.seen_status == "running"  # it lives, though it began before the run before it
    assert newest.id > before["id"]
    assert newest.started < before["started"]
    process.kill()
    lab.finish(process)
    assert lab.left_over(within=100) == []
    assert run_state.find(lab.out, "last").seen_status == "interrupted"
    write_notebook(lab.folder, "hangs", "1 + 1")
    code, text = lab.run("run", "--resume", "last", "--out", str(lab.out))
    assert code == 0, text
    assert (lab.last_run()["id"], lab.statuses()) == (newest.id, {"hangs": "ok"})


def test_a_new_run_is_named_later_than_every_kept_one(tmp_path):
    first, second = run_state.new_folder(tmp_path), run_state.new_folder(tmp_path)  # within a second
    assert first.name < second.name
    ahead = datetime.now(UTC) + timedelta(days=400)
    (tmp_path / f"{ahead:%Y%m%dT%H%M%SZ}-abcd").mkdir()
    (tmp_path / "notes").mkdir()
    (tmp_path / "99999999T999999Z-mine").mkdir()
    third = run_state.new_folder(tmp_path)
    assert second.name < third.name
    (tmp_path / "99999999T999999Z-mine").rmdir()
    fourth = run_state.new_folder(tmp_path)
    assert f"{ahead:%Y%m%dT%H%M%SZ}-abcd" < fourth.name
    assert fourth.name < run_state.new_folder(tmp_path).name
