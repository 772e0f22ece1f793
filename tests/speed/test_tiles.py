"""The map of tiles is what the kernels load: the band of a query tile, cut where masks begin and end."""

import json
import re

import numpy as np
import pytest

from lablib.core.store import PROJECT
from lablib.speed import lessons
from lablib.speed.explore import tiles_explorer
from lablib.speed.tiles import EDGE, FULL, SKIPPED, Tiling, tile_kinds, useful_share, walk

CUTS = [
    Tiling(48, 20, 16, 16),
    Tiling(64, 16, 32, 16),
    Tiling(50, 7, 16, 32),
    Tiling(96, 48, 16, 16),
    Tiling(32, 1, 8, 8),
]
cuts = pytest.mark.parametrize("cut", CUTS)


@cuts
def test_a_query_tile_loads_from_the_first_key_of_its_first_query_to_its_own_end(cut):
    for program in range(-(-cut.time // cut.queries)):
        m0 = program * cut.queries
        low, high = max(m0 - cut.window + 1, 0) // cut.keys, -(-min(m0 + cut.queries, cut.time) // cut.keys)
        assert walk(cut, "queries", program) == list(range(low, high))


@cuts
def test_a_key_tile_is_loaded_by_the_queries_behind_it(cut):
    for program in range(-(-cut.time // cut.keys)):
        n0 = program * cut.keys
        last = min(n0 + cut.keys - 1 + cut.window, cut.time)
        assert walk(cut, "keys", program) == list(range(n0 // cut.queries, -(-last // cut.queries)))


@cuts
def test_every_visible_pair_lies_in_a_loaded_tile_and_a_full_tile_has_no_other(cut):
    i, j = np.arange(cut.time)[:, None], np.arange(cut.time)
    visible, kinds = (j <= i) & (j > i - cut.window), tile_kinds(cut)
    spread = kinds.repeat(cut.queries, 0).repeat(cut.keys, 1)[: cut.time, : cut.time]
    assert (spread[visible] != SKIPPED).all()
    assert visible[spread == FULL].all()


def test_narrow_windows_in_wide_tiles_waste_most_of_what_they_load():
    assert useful_share(Tiling(256, 1, 64, 64)) < 0.02
    assert useful_share(Tiling(256, 256, 8, 8)) > 0.9
    assert (tile_kinds(Tiling(64, 64, 16, 16)) == EDGE).sum() == 4


def test_the_explorer_answers_every_corner():
    explorer = tiles_explorer()
    for name, slider in explorer.sliders.items():
        for value in (slider.options[0], slider.options[-1]):
            figure = explorer.draw(**(explorer.values | {name: value}))
            assert len(figure.data) == 2


def test_a_lesson_that_does_not_exist_is_named():
    with pytest.raises(ValueError, match="no lesson 'sort'; expected add, softmax, matmul, flash_attention"):
        lessons.lesson("sort")


def test_the_add_kernel_that_the_notebook_shows_is_the_one_that_it_runs():
    cells = json.loads((PROJECT / "notebooks" / "07_triton_kernels.ipynb").read_text())["cells"]
    prose = "".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    (shown,) = re.findall(r"```python\n(.*?)```", prose, re.DOTALL)
    assert shown in (PROJECT / "kernels" / "lessons" / "add.py").read_text()


def test_without_triton_the_definitions_run_and_cells_with_kernels_are_read(monkeypatch, capsys):
    import torch

    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    triton, tl, by = lessons.language()
    assert by == "torch"
    assert "no Triton" in capsys.readouterr().out

    @triton.jit
    def kernel(x, BLOCK: tl.constexpr): ...

    x = torch.randn(3, 5, generator=torch.Generator().manual_seed(0))
    assert "no picture of lanes" in str(lessons.lanes_of_add(x, x, block=4))
    assert lessons.lesson("softmax") is lessons.DEFINITIONS["softmax"]
    torch.testing.assert_close(lessons.lesson("softmax")(x, "loop").sum(-1), torch.ones(3))
    assert torch.equal(lessons.lesson("add")(x, x), 2 * x)
    assert torch.equal(lessons.lesson("matmul")(x, x.T), x @ x.T)
    assert torch.equal(lessons.lesson("flash_attention")(x[None], x[None], x[None])[0, 0], x[0])
