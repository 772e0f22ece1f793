"""What holds for every experiment of the lab: three scales, distinct arms, a smoke run, a figure, a faithful record."""

import dataclasses
import functools
import importlib.util
import inspect
import re
from collections.abc import Callable

import pandas as pd
import plotly.graph_objects as go
import pytest

from lablib.app.drawing import figure_function
from lablib.core.config import SCALES, Config
from lablib.core.experiment import all_experiments, run_all
from lablib.core.store import Record

EXPERIMENTS = all_experiments()
if importlib.util.find_spec("triton") is None:  # macOS: no compiler to ask
    del EXPERIMENTS["speed/compiled"]
every = pytest.mark.parametrize("name", EXPERIMENTS)
scales = pytest.mark.parametrize("scale", SCALES)


@functools.cache  # the types of every field are checked as a test checks types, which takes milliseconds an arm
def arms(name: str, scale: str) -> tuple[Config, ...]:
    return tuple(EXPERIMENTS[name].arms(scale))


@functools.cache
def seeds(name: str, scale: str) -> dict[Config, list[int]]:
    """The seeds of each condition: an arm whose seed is set to 0."""
    found: dict[Config, list[int]] = {}
    for cfg in arms(name, scale):
        found.setdefault(dataclasses.replace(cfg, seed=0), []).append(cfg.seed)
    return found


@pytest.fixture(scope="module")
def smoke(tmp_path_factory) -> Callable[[str], pd.DataFrame]:
    """The smoke table of an experiment, computed when it is first asked for."""
    home = tmp_path_factory.mktemp("smoke")

    @functools.cache
    def table(name: str) -> pd.DataFrame:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LAB_HOME", str(home))
            return run_all(EXPERIMENTS[name], arms(name, "smoke"), in_process=True)

    return table


@every
@scales
def test_arms_can_be_built_at_every_scale_and_no_two_are_the_same(name, scale):
    found = arms(name, scale)
    assert found
    assert len(set(found)) == len(found)
    digests = [EXPERIMENTS[name].digest(cfg) for cfg in found]
    assert len(set(digests)) == len(found)


@every
@scales
def test_the_arms_of_a_scale_do_not_depend_on_the_environment(name, scale, monkeypatch):
    before = arms(name, scale)
    monkeypatch.setenv("LAB_SCALE", "smoke" if scale != "smoke" else "full")
    assert tuple(EXPERIMENTS[name].arms(scale)) == before


@every
@scales
def test_seeds_are_paired_across_arms(name, scale):
    """Arms that differ in a condition run the same seeds, from 0 on: 0 .. n - 1 for some n."""
    assert all(sorted(found) == list(range(len(found))) for found in seeds(name, scale).values())


@every
def test_a_claim_rests_on_at_least_three_seeds_at_full_scale(name):
    assert min(map(len, seeds(name, "full").values())) >= 3


@every
def test_the_configuration_has_the_three_scales(name):
    kind = type(arms(name, "full")[0])
    assert all(isinstance(kind.at(scale), kind) for scale in SCALES)
    assert kind.at("full") == kind(), "the defaults are the full scale"
    assert kind.at("smoke") != kind()
    assert all(isinstance(cfg, kind) for scale in SCALES for cfg in arms(name, scale))


@every
def test_smoke_arms_run_and_give_rows_with_their_configuration(name, smoke):
    table, digests = smoke(name), [EXPERIMENTS[name].digest(cfg) for cfg in arms(name, "smoke")]
    assert list(table["arm"].unique()) == digests
    assert set(arms(name, "smoke")[0].flat()) <= set(table.columns)
    assert (table["store"] == "own").all()
    assert table.columns.is_unique


def figure_of(name: str):
    found = figure_function(name)
    assert found is not None, f"{name} has no {name.split('/')[1]}_figure in its subject's figures"
    return found


@every
def test_the_figure_draws_the_smoke_table(name, smoke):
    before = smoke(name).copy()
    figure = figure_of(name)(smoke(name))
    assert isinstance(figure, go.Figure)
    assert figure.layout.meta["title"] in " ".join(re.sub(r"<[^>]+>", " ", figure.layout.title.text).split())
    assert figure.layout.meta["caption"]
    assert figure.layout.meta["title"] in figure.layout.meta["alt"]
    points = sum(len(trace.x) for trace in figure.data if trace.x is not None)
    assert points > 0, "a figure without points"
    pd.testing.assert_frame_equal(smoke(name), before)


@every
def test_every_seed_of_the_figure_is_a_dot(name, smoke):
    """Lines, bars and marks of means stand among dots, which know their seed; heat maps show means alone."""
    figure = figure_of(name)(smoke(name))
    groups = {trace.legendgroup for trace in figure.data if trace.type == "scatter" and trace.legendgroup is not None}
    dots = {trace.legendgroup for trace in figure.data if trace.customdata is not None}
    assert groups == dots


@every
def test_the_figure_has_few_panels_and_few_strong_lines_of_different_colours(name, smoke):
    """At most three panels, or facets: one chart for each value of a column, with the same title on every axis."""
    figure = figure_of(name)(smoke(name))
    panels: dict[str, list] = {}
    for trace in figure.data:
        panels.setdefault(f"{trace.xaxis}{trace.yaxis}", []).append(trace)
    titles = {axis.title.text for axis in figure.select_yaxes() if axis.title.text}
    assert len(panels) <= 3 or len(titles) <= 1
    for traces in panels.values():
        lines = [trace for trace in traces if trace.type == "scatter" and "lines" in trace.mode and trace.legendgroup]
        means = [trace for trace in lines if trace.fill is None]
        assert sum((trace.opacity or 1) == 1 for trace in means) <= 6
        assert len({trace.line.color for trace in means}) == len(means)


@every
def test_the_figure_says_whether_it_shows_own_or_recorded_runs(name, smoke):
    draw = figure_of(name)
    assert "own runs" in draw(smoke(name)).layout.title.text
    assert "recorded runs" in draw(smoke(name).assign(store="recorded")).layout.title.text


@every
def test_the_figure_of_no_arms_says_how_to_make_some(name):
    figure = figure_of(name)(pd.DataFrame())
    assert not figure.data
    assert "run the experiment" in figure.layout.annotations[0].text


@every
def test_a_recorded_arm_is_one_that_the_code_would_run_today(name):
    experiment = EXPERIMENTS[name]
    today = {experiment.digest(cfg): cfg for cfg in arms(name, "full")}
    for arm in Record().load(name):
        assert arm.digest in today, f"{arm.digest} is recorded, but {name}.arms('full') does not have it: {arm.config}"
        assert arm.config.items() <= _as_json(today[arm.digest].flat()).items()
        assert arm.config.keys() >= today[arm.digest].flat(identity=True).keys(), "but for fields that were added later"
        assert (arm.version, arm.status) == (experiment.version, "ok")
        assert arm.provenance["commit"], "recorded from a commit"
        assert not arm.provenance["dirty"], "recorded from a clean one"


def _as_json(config: dict) -> dict:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in config.items()}


@every
def test_an_experiment_is_described_and_lives_in_its_subject(name):
    experiment = EXPERIMENTS[name]
    subject, short = name.split("/")
    assert experiment.arms.__module__.startswith(f"lablib.{subject}.experiments")
    assert getattr(importlib.import_module(experiment.arms.__module__), short) is experiment
    assert inspect.getdoc(experiment.function)
    assert experiment.version >= 1
