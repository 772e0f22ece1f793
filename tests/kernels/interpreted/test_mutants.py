"""The gates gate: planted mistakes, of the kinds that kernels have, are each seen by the check that is there for it."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import test_chunks
import test_window
import torch
from definitions import FARTHEST, chosen_attention, errors, window_attention

import labkernels.hsa.op
import labkernels.swa.op
from labkernels.hsa import launch
from labkernels.runtime import Tiles
from labkernels.swa import op as window_op

KERNELS = Path(window_op.__file__).parents[1]
WINDOW, CHUNKS = "swa", "hsa"

MUTANTS = {
    "a mask off by one": (WINDOW, "forward", "(j > i - window)", "(j >= i - window)"),
    "no mask on the diagonal": (WINDOW, "forward", "(j <= i) & ", ""),
    "a left edge taken for full": (WINDOW, "forward", "window, 0) + N - 1) // N", "window, 0)) // N"),
    "a dropped tail block": (WINDOW, "forward", "tl.minimum(m0 + M, time)", "tl.minimum(m0 + M, time) // N * N"),
    "a missing scale": (WINDOW, "forward", "(scale * LOG2_E)", "LOG2_E"),
    "a sum that is not shrunk": (WINDOW, "forward", "b_sum * shrink + ", "b_sum + "),
    "a store without a mask": (
        WINDOW,
        "forward",
        "b_o.to(o.dtype.element_ty), mask=inside",
        "b_o.to(o.dtype.element_ty)",
    ),
    "the wrong key head": (WINDOW, "forward", "stride_vb + head // group", "stride_vb + head % group"),
    "a gradient without its scale": (WINDOW, "backward", "(b_dq * scale)", "b_dq"),
    "a gradient of the wrong sign": (WINDOW, "backward", "(b_dp - b_delta[:, None])", "(b_delta[:, None] - b_dp)"),
    "readers of a key forgotten": (WINDOW, "backward", "n0 + N - 1 + window, time)", "n0 + window, time) // M * M"),
    "an output that is not written": (WINDOW, "backward", "tl.store(dv + place", "tl.store(dk + place"),
    "a weight left out": (CHUNKS, "forward", "(share / b_sum)", "(1 / b_sum)"),
    "an empty slot that is read": (CHUNKS, "forward", "chosen = (chunk >= 0) & (", "chosen = ("),
    "a dropped tail of readers": (CHUNKS, "backward", "range(0, count, M)", "range(0, count // M * M, M)"),
    "a weight's gradient of one head": (CHUNKS, "backward", "gain = tl.sum", "gain = tl.max"),
    "the choice's gradient forgotten": (CHUNKS, "backward", "(b_dp - b_dot[:, None])", "b_dp"),
}


def mutant(folder: str, file: str, old: str, new: str, tmp_path: Path) -> ModuleType:
    """The module with one place changed, loaded from a file of its own."""
    source = (KERNELS / folder / f"{file}.py").read_text()
    assert source.count(old) >= 1, f"{old!r} is not in {folder}/{file}.py: the mutant has to follow the kernel"
    path = tmp_path / f"{folder}_{file}.py"
    path.write_text(source.replace(old, new))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_in_place(changed: ModuleType, place: ModuleType, monkeypatch) -> None:
    """The launcher launches the mutant's kernels."""
    for name in vars(place):
        if (
            name.endswith("_kernel")
            and hasattr(changed, name)
            and vars(changed)[name].fn.__module__ == changed.__name__
        ):
            monkeypatch.setattr(place, name, getattr(changed, name))


def worst_window() -> float:
    """Two shapes that need all three parts of the band, groups, a tail, and a gradient of the log-sum-exp."""

    def both(out, lse):
        return torch.cat([out, lse[..., None].to(out.dtype)], -1)

    found = []
    for case in ((1, 4, 2, 50, 16), (1, 2, 1, 33, 16)):
        inputs = test_window.draw(*case, torch.float32)
        found += errors(
            lambda q, k, v: both(*labkernels.swa.op.sliding_window_attention(q, k, v, 20, return_lse=True)),
            lambda q, k, v: both(*window_attention(q, k, v, 20)),
            inputs,
        )
    return max(found)


def worst_chunks() -> float:
    """A group that does not fill its rows, empty slots, and a tail."""
    inputs, chunks = test_chunks.draw(1, 1, 3, 50, 16, 16, 2, torch.float32)
    return max(
        errors(
            lambda q, k, v, w: labkernels.hsa.op.hierarchical_attention(q, k, v, chunks, w, order="queries"),
            lambda q, k, v, w: chosen_attention(q, k, v, chunks, w),
            inputs,
        )
    )


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(window_op, "fitting", lambda *_: Tiles(16, 16))
    monkeypatch.setattr(launch, "FOR_DKV", Tiles(16, 16))


WORST = {WINDOW: (window_op, worst_window), CHUNKS: (launch, worst_chunks)}


@pytest.mark.parametrize("folder", WORST)
def test_the_kernels_themselves_pass(folder):
    assert WORST[folder][1]() < FARTHEST[torch.float32]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("change", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_planted_mistake_is_seen(change, tmp_path, monkeypatch, allocations):
    place, worst = WORST[change[0]]
    put_in_place(mutant(*change, tmp_path), place, monkeypatch)
    seen = worst() > FARTHEST[torch.float32]
    try:
        allocations.check()
    except AssertionError:
        seen = True
    allocations.buffers.clear()
    assert seen
