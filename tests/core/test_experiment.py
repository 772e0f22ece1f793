"""An experiment is computed once an arm, over any executor, and what is done stays done."""

import contextlib
import functools
import math
import os
import signal
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

import lablib.core.experiment as core
from lablib.core.config import Config, grid, later
from lablib.core.experiment import ArmsFailed, Experiment, run_all
from lablib.core.store import PROJECT, Record, Store, joined, lab_home


@dataclass(frozen=True, kw_only=True)
class SquareConfig(Config):
    x: int = 2
    mood: str = "well"  # "well", or how the arm ends
    log: str = ""  # a file that gets a line a computation, in whatever process


def square_arms(scale: str) -> list[SquareConfig]:
    return grid(SquareConfig.at(scale), x=[1, 2])


# not the decorator: a test's experiment stays out of the registry of the lab's own
@functools.partial(Experiment, name="testing/squares", version=1, arms=square_arms)
def squares(cfg: SquareConfig) -> pd.DataFrame:
    if cfg.log:
        with open(cfg.log, "a") as log:
            log.write(f"{cfg.x}\n")
    if cfg.mood == "kills its worker":
        os.kill(os.getpid(), signal.SIGKILL)
    if cfg.mood == "fails":
        raise ValueError(f"cannot square {cfg.x}")
    if cfg.mood == "fails with a path":
        raise OSError(f"{PROJECT}/lablib/core is not for {os.environ['A_TOKEN']}")
    if cfg.mood == "is interrupted":
        raise KeyboardInterrupt
    if cfg.mood == "returns nothing":
        return None
    if cfg.mood == "returns what cannot be kept":
        return pd.DataFrame({"square": [object()]})
    if cfg.mood == "shadows a field":
        return pd.DataFrame({"x": [1.0]})
    if cfg.mood == "is filtered":
        table = pd.DataFrame({"square": [0.0, cfg.x**2 / 3], "note": ["", "kept"]})
        return table[table["square"] > 0]
    table = pd.DataFrame({"square": [float(cfg.x) ** 2, math.nan], "third": [cfg.x / 3, 0.1 + 0.2]})
    table.attrs["corpus"] = f"{PROJECT}/lablib/core" if cfg.mood == "states a path" else "abc"
    return table


@pytest.fixture
def log(tmp_path):
    """A log of computations; its lines are the arms computed so far."""
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def real_pool(monkeypatch):
    """The lab's own pool with one worker, that sees this test's store; gone afterwards."""
    monkeypatch.setenv("LAB_WORKERS", "1")
    pools, build = [], core.worker_pool.__wrapped__
    monkeypatch.setattr(core, "worker_pool", functools.cache(lambda n: pools.append(build(n)) or pools[-1]))
    yield pools
    for pool in pools:
        pool.shutdown(wait=True, cancel_futures=True)


def test_an_arm_is_computed_once_and_then_comes_from_the_store_unchanged(log):
    cfg = SquareConfig(x=3, log=str(log))
    first, second = squares(cfg), squares(cfg)
    assert log.read_text() == "3\n"
    assert_frame_equal(first, second, check_exact=True)
    assert first["square"].tolist()[0] == 9.0
    assert first["x"].tolist() == [3, 3]


def test_a_table_with_an_index_of_its_own_is_the_same_on_both_calls():
    cfg = SquareConfig(x=3, mood="is filtered")
    assert_frame_equal(squares(cfg), squares(cfg))


def test_a_stored_arm_says_where_it_was_made_and_what_it_read():
    cfg = SquareConfig(x=3)
    squares(cfg)
    arm = squares.stored(cfg)
    assert (arm.experiment, arm.version, arm.status, arm.error) == ("testing/squares", 1, "ok", None)
    assert arm.digest == squares.digest(cfg)
    assert arm.facts == {"corpus": "abc"}
    assert arm.cpu_seconds >= 0
    assert {"commit", "dirty", "python", "torch", "device", "finished"} <= arm.provenance.keys()


FAILURES = ["fails", "returns nothing", "returns what cannot be kept", "shadows a field"]


@pytest.mark.parametrize("mood", FAILURES)
def test_a_failed_arm_has_a_status_and_an_error_and_never_a_table(mood):
    cfg = SquareConfig(x=3, mood=mood)
    with pytest.raises(ArmsFailed, match="testing/squares"):
        squares(cfg)
    arm = Store(lab_home()).load("testing/squares", squares.digest(cfg))
    assert (arm.status, arm.table) == ("failed", None)
    assert arm.error
    assert squares.stored(cfg) is None


def test_an_arm_names_no_folder_of_this_machine_and_holds_no_secret(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "correct-horse-battery")
    for mood in ("fails with a path", "states a path"):
        cfg = SquareConfig(mood=mood)
        assert squares.compute(cfg).status == ("ok" if mood == "states a path" else "failed")
        text = Store(lab_home()).path(squares.name, squares.digest(cfg)).read_text()
        assert "lablib/core" in text
        assert str(PROJECT) not in text
        assert "correct-horse" not in text


def test_a_failed_arm_is_tried_again(log):
    cfg = SquareConfig(x=3, mood="fails", log=str(log))
    for _ in range(2):
        with pytest.raises(ArmsFailed, match="ValueError: cannot square 3"):
            squares(cfg)
    assert log.read_text() == "3\n3\n"


def test_a_damaged_arm_is_computed_again(log):
    cfg = SquareConfig(x=3, log=str(log))
    first = squares(cfg)
    path = Store(lab_home()).path("testing/squares", squares.digest(cfg))
    path.write_bytes(path.read_bytes()[:40])
    assert_frame_equal(squares(cfg).drop(columns="cpu_seconds"), first.drop(columns="cpu_seconds"))
    assert log.read_text() == "3\n3\n"


def test_the_digest_differs_by_version_by_name_and_by_configuration():
    newer = Experiment(squares.function, "testing/squares", 2, square_arms)
    other = Experiment(squares.function, "testing/cubes", 1, square_arms)
    a, b = SquareConfig(x=1), SquareConfig(x=2)
    assert len({squares.digest(a), squares.digest(b), newer.digest(a), other.digest(a)}) == 4


def test_an_arm_of_another_version_does_not_count():
    squares(SquareConfig(x=3))
    assert Experiment(squares.function, "testing/squares", 2, square_arms).stored(SquareConfig(x=3)) is None


EXECUTORS = {"in process": None, "threads": lambda: ThreadPoolExecutor(2)}


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS.keys())
def test_a_sweep_computes_what_is_missing_and_returns_all_arms_in_their_order(executor, log):
    arms = grid(SquareConfig(log=str(log)), x=[3, 1, 2, 5])
    squares(arms[1])
    told = []
    with executor() if executor else pytest.MonkeyPatch.context() as pool:
        where = {"executor": pool} if executor else {"in_process": True}
        table = run_all(squares, arms, progress=lambda *line: told.append(line), **where)
    assert table["x"].tolist() == [3, 3, 1, 1, 2, 2, 5, 5]
    assert table["square"].tolist()[::2] == [9.0, 1.0, 4.0, 25.0]
    assert sorted(log.read_text().split()) == ["1", "2", "3", "5"]
    assert [line[:2] for line in told] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert told[0][2] == "1 of 4 arms already there"


def test_a_sweep_returns_what_single_calls_return(log):
    arms = grid(SquareConfig(), x=[1, 2])
    swept = run_all(squares, arms, in_process=True)
    assert_frame_equal(swept, pd.concat([squares(cfg) for cfg in arms], ignore_index=True), check_exact=True)


def test_fresh_computes_again(log):
    arms = grid(SquareConfig(log=str(log)), x=[1, 2])
    for fresh in (False, False, True):
        run_all(squares, arms, in_process=True, fresh=fresh)
    assert log.read_text().split() == ["1", "2", "1", "2"]


@pytest.mark.parametrize("executor", EXECUTORS.values(), ids=EXECUTORS.keys())
def test_failed_arms_are_reported_together_and_the_others_are_kept(executor):
    arms = [SquareConfig(x=x, mood=mood) for x, mood in enumerate(["well", "fails", "well", "fails"])]
    with executor() if executor else pytest.MonkeyPatch.context() as pool:
        where = {"executor": pool} if executor else {"in_process": True}
        with pytest.raises(ArmsFailed, match=r"^2 of 4 arms of testing/squares failed, .*cannot square [13]"):
            run_all(squares, arms, **where)
    assert [squares.stored(cfg) is not None for cfg in arms] == [True, False, True, False]


def test_an_interrupted_sweep_goes_on_where_it_stopped(log):
    arms = [SquareConfig(x=x, log=str(log)) for x in range(4)]
    stopping = [*arms[:2], SquareConfig(x=9, mood="is interrupted", log=str(log)), *arms[2:]]
    with pytest.raises(KeyboardInterrupt):
        run_all(squares, stopping, in_process=True)
    assert Store(lab_home()).load("testing/squares", squares.digest(stopping[2])) is None
    run_all(squares, arms, in_process=True)
    assert log.read_text().split() == ["0", "1", "9", "2", "3"]


def test_recorded_arms_never_count_as_own(tmp_path, monkeypatch, log):
    cfg = SquareConfig(x=3, log=str(log))
    squares(cfg)
    arm = squares.stored(cfg)
    monkeypatch.setattr(core, "Record", lambda: Record(tmp_path / "results"))
    Record(tmp_path / "results").save(squares.name, [arm])
    assert squares.recorded()["store"].tolist() == ["recorded", "recorded"]
    monkeypatch.setenv("LAB_HOME", str(tmp_path / "another-home"))
    assert squares.stored(cfg) is None
    assert squares(cfg)["store"].tolist() == ["own", "own"]
    assert log.read_text() == "3\n3\n"


def test_recorded_arms_stand_in_the_order_of_the_sweep_whatever_the_order_of_the_record(tmp_path, monkeypatch):
    known = square_arms("full")
    monkeypatch.setattr(core, "Record", lambda: Record(tmp_path / "results"))
    kept = [*known, SquareConfig(x=7)]  # the last is asked for no more
    for cfg in kept:
        squares(cfg)
    Record(tmp_path / "results").save(squares.name, [squares.stored(cfg) for cfg in kept])
    lines = Record(tmp_path / "results").headers(squares.name)
    for order in (lines, lines[::-1]):
        monkeypatch.setattr(Record, "headers", lambda self, name, order=order: order)
        assert squares.recorded()["x"].drop_duplicates().tolist() == [1, 2, 7]


def test_what_is_recorded_is_joined_as_arm_by_arm(tmp_path, monkeypatch):
    monkeypatch.setattr(core, "Record", lambda: Record(tmp_path / "results"))
    kept = [squares.compute(cfg) for cfg in [*square_arms("full"), SquareConfig(x=7, mood="is filtered")]]
    Record(tmp_path / "results").save(squares.name, kept)
    recorded = sorted(Record(tmp_path / "results").load(squares.name), key=lambda arm: arm.config["x"])
    one_by_one = pd.concat([joined([arm], "recorded") for arm in recorded], ignore_index=True)
    assert_frame_equal(squares.recorded(), one_by_one, check_like=True)


@dataclass(frozen=True, kw_only=True)
class CubeConfig(SquareConfig):
    power: int = later(3, neutral=2)


def test_an_arm_from_before_a_field_is_found_and_gets_the_neutral_value_as_its_column(tmp_path, monkeypatch):
    monkeypatch.setattr(core, "Record", lambda: Record(tmp_path / "results"))
    before = squares.compute(SquareConfig(x=1))
    Record(tmp_path / "results").save(squares.name, [before])
    grown = Experiment(squares.function, squares.name, 1, lambda scale: [CubeConfig(x=1, power=2), CubeConfig(x=1)])
    table = grown.recorded()
    assert table["power"].tolist() == [2, 2]
    assert table["arm"].unique().tolist() == [before.digest]
    assert grown(CubeConfig(x=1, power=2))["power"].tolist() == [2, 2]
    assert grown.stored(CubeConfig(x=1)) is None


def test_recorded_arms_of_another_version_are_left_out(tmp_path, monkeypatch):
    squares(SquareConfig(x=3))
    monkeypatch.setattr(core, "Record", lambda: Record(tmp_path / "results"))
    assert squares.recorded().empty
    Record(tmp_path / "results").save(squares.name, [squares.stored(SquareConfig(x=3))])
    assert len(squares.recorded()) == 2
    assert Experiment(squares.function, "testing/squares", 2, square_arms).recorded().empty


def test_a_killed_worker_is_reported_and_the_sweep_goes_on_in_a_new_pool(real_pool, log):
    moods = enumerate(["well", "kills its worker", "well"])
    arms = [SquareConfig(x=x, mood=mood, log=str(log)) for x, mood in moods]
    with pytest.raises(ArmsFailed, match=r"a worker process died .*finished arms are kept"):
        run_all(squares, arms)
    assert [squares.stored(cfg) is not None for cfg in arms] == [True, False, False]
    assert run_all(squares, [arms[2], arms[0]])["square"].tolist()[::2] == [4.0, 0.0]
    assert log.read_text().split() == ["0", "1", "2"]
    assert len(real_pool) == 2


def test_a_worker_that_died_between_two_sweeps_costs_at_most_one_clear_error(real_pool):
    run_all(squares, [SquareConfig(x=1)])
    (worker,) = real_pool[0]._processes.values()
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    time.sleep(0.3)  # the pool's own thread notices
    with contextlib.suppress(ArmsFailed):  # the lab's own error, not the executor's
        run_all(squares, [SquareConfig(x=1), SquareConfig(x=2)])
    table = run_all(squares, [SquareConfig(x=1), SquareConfig(x=2)])
    assert table["square"].tolist()[::2] == [1.0, 4.0]


def test_the_pool_is_kept_for_the_next_sweep_and_its_workers_have_one_thread(real_pool):
    run_all(threads, [SquareConfig(x=1)])
    table = run_all(threads, [SquareConfig(x=1), SquareConfig(x=2)])
    assert table["threads"].tolist() == [1, 1]
    assert table["process"].nunique() == 1
    assert table["process"][0] != os.getpid()
    assert len(real_pool) == 1


@functools.partial(Experiment, name="testing/threads", version=1, arms=square_arms)
def threads(cfg: SquareConfig) -> pd.DataFrame:
    import torch

    return pd.DataFrame({"threads": [torch.get_num_threads()], "process": [os.getpid()]})


def test_arms_computed_where_the_store_is_another_are_kept_here_too(tmp_path):
    with ProcessPoolExecutor(
        1, get_context("spawn"), initializer=_live_at, initargs=(str(tmp_path / "far-away"),)
    ) as cluster:
        table = run_all(squares, [SquareConfig(x=3)], executor=cluster)
    assert table["square"].tolist()[0] == 9.0
    assert squares.stored(SquareConfig(x=3)) is not None


def _live_at(home: str) -> None:
    os.environ["LAB_HOME"] = home
