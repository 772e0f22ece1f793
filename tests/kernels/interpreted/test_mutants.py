"""The gates gate: planted mistakes, of the kinds that kernels have, are each seen by the check that is there for it."""

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import test_chunks
import test_linear_kl
import test_window
import torch
from definitions import FARTHEST, chosen_attention, errors, window_attention

import labkernels.hsa.op
import labkernels.swa.op
from labkernels.distillation import op as distillation_op
from labkernels.hsa import launch, select
from labkernels.runtime import Tiles
from labkernels.swa import op as window_op

KERNELS = Path(window_op.__file__).parents[1]
WINDOW, CHUNKS, CHOICE, LOSS = "swa", "hsa", "selection", "distillation"

MUTANTS = {
    "a mask off by one": (WINDOW, "forward", "j > i - window", "j >= i - window"),
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
    "keys beyond the window": (
        WINDOW,
        "backward",
        "o_m[None, :] < time, window,",
        "o_m[None, :] < time, time,",
    ),
    "a key's mask off by one": (
        WINDOW,
        "backward",
        "o_m[None, :] < time, window,",
        "o_m[None, :] < time, window + 1,",
    ),
    "sinks before the band forgotten": (WINDOW, "forward", "0, tl.minimum(sinks, low)", "0, 0"),
    "sinks in the band forgotten": (WINDOW, "forward", " | (j < sinks)", ""),
    "a sink too many": (WINDOW, "forward", "(j < sinks)", "(j <= sinks)"),
    "dq without the sinks before the band": (WINDOW, "backward", "0, tl.minimum(sinks, low)", "0, 0"),
    "readers of a sink forgotten": (WINDOW, "backward", "tl.where(n0 < sinks, time, last)", "last"),
    "one head of a group": (WINDOW, "backward", "(kv_head + 1) * group)", "kv_head * group + 1)"),
    "the log-sum-exp's gradient forgotten": (
        WINDOW,
        "backward",
        "tl.load(dlse + bh * time + o_m, mask=o_m < time, other=0.0)",
        "0.0",
    ),
    "an edge taken for the middle": (WINDOW, "forward", "(m0 + 1) // N * N, full", "(m0 + N) // N * N, full"),
    "an output that is not written": (WINDOW, "backward", "tl.store(dv + place", "tl.store(dk + place"),
    "a weight left out": (CHUNKS, "forward", "(share / b_sum)", "(1 / b_sum)"),
    "an empty slot that is read": (CHUNKS, "forward", "chosen = (chunk >= 0) & (", "chosen = ("),
    "a dropped tail of readers": (CHUNKS, "backward", "range(0, count, M)", "range(0, count // M * M, M)"),
    "a weight's gradient of one head": (CHUNKS, "backward", "gain = tl.sum", "gain = tl.max"),
    "another head of the group": (CHUNKS, "forward", "(r % G).to(tl.int64)", "(r // G % G).to(tl.int64)"),
    "readers of one head": (CHUNKS, "forward", ".to(tl.int32) * G", ".to(tl.int32)"),
    "readers of one head, backward": (CHUNKS, "backward", ".to(tl.int32) * G", ".to(tl.int32)"),
    "a weight left out of the chunk's pass": (CHUNKS, "forward", "(weight / b_sum)", "(1 / b_sum)"),
    "chunk 0 without readers": (CHUNKS, "inverse", "flat >= 0", "flat > 0"),
    "readers counted from the first head": (CHUNKS, "inverse", "row * num_chunks + flat", "flat"),
    "a chunk that is not complete": (CHOICE, "select", "(o_c[None, :] + 1) * size", "o_c[None, :] * size"),
    "negative scores the wrong way round": (CHOICE, "select", "bits ^ 0x7FFFFFFF", "bits"),
    "the newer of equals": (CHOICE, "select", "(0x7FFFFFFF - chunk).to", "chunk.to"),
    "the last landmarks forgotten": (CHOICE, "select", "range(0, complete, N)", "range(0, complete // N * N, N)"),
    "the best so far forgotten": (CHOICE, "select", "tl.join(best, fresh)", "tl.join(fresh, fresh)"),
    "the choice's gradient forgotten": (CHUNKS, "backward", "(b_dp - b_dot[:, None])", "b_dp"),
    "no mask behind the vocabulary": (LOSS, "forward", "inside = o_n[None, :] < vocab", "inside = o_n[None, :] >= 0"),
    "the end of the vocabulary forgotten": (LOSS, "forward", "range(0, vocab, N)", "range(0, vocab // N * N, N)"),
    "the end of the width forgotten": (LOSS, "forward", "range(0, width, K)", "range(0, width // K * K, K)"),
    "the student for the teacher": (LOSS, "forward", "b_t - b_s", "b_s - b_t"),
    "a gap that is not shrunk": (LOSS, "forward", "b_gap * shrink + ", "b_gap + "),
    "the other model's log-sum-exp": (LOSS, "forward", "lse_s + o_m, max_s", "lse_s + o_m, max_t"),
    "a loss in bits": (LOSS, "forward", "b_kl / LOG2_E", "b_kl"),
    "no mask behind the vocabulary, backward": (LOSS, "backward", "tl.where(inside, ", "tl.where(inside | True, "),
    "p minus q": (LOSS, "backward", "b_dh *= ", "b_dh *= -1.0 * "),
    "a probability by the other's log-sum-exp": (LOSS, "backward", "b_t - b_lse_t", "b_t - b_lse_s"),
    "a gradient without its weight": (LOSS, "backward", " * b_factor", ""),
    "the first block of the width alone": (LOSS, "backward", "tl.program_id(1) * D", "0 * D"),
    "the last tokens forgotten": (LOSS, "backward", "range(0, tokens, M)", "range(0, tokens // M * M, M)"),
    "the loss's gradient above forgotten": (LOSS, "backward", "b_dv *= tl.load(unit)", "b_dv *= 1.0"),
    "a loss without T^2": (LOSS, "op", "temperature**2 * (kl", "(kl"),
    "a gradient without T": (LOSS, "op", "above * ctx.temperature", "above"),
    "logits without T": (LOSS, "op", "LOG2_E / temperature", "LOG2_E"),
    "all tokens alike": (LOSS, "op", "(kl * weight).sum() / weight.sum()", "kl.mean()"),
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
    """The launcher launches the mutant's kernels, and calls its functions."""
    for name in vars(place):
        own = getattr(changed, name, None)
        if getattr(getattr(own, "fn", own), "__module__", None) == changed.__name__:
            monkeypatch.setattr(place, name, own)


def of_the_window() -> Iterator[float]:
    """Errors that show all parts of the band, groups, a tail, sinks in it and before it, and the lse's gradient."""

    def both(out, lse):
        return torch.cat([out, lse[..., None].to(out.dtype)], -1)

    for case, sinks in (((1, 4, 2, 70, 16), 0), ((1, 2, 1, 33, 16), 0), ((1, 2, 1, 75, 16), 5)):
        kernel = functools.partial(labkernels.swa.op.sliding_window_attention, window=40, sinks=sinks, return_lse=True)
        truth = functools.partial(window_attention, window=40, sinks=sinks)
        yield from errors(
            lambda *x, kernel=kernel: both(*kernel(*x)),
            lambda *x, truth=truth: both(*truth(*x)),
            test_window.draw(*case, torch.float32),
        )


def of_the_chunks() -> Iterator[float]:
    """Errors with a group that does not fill its rows, two heads, empty slots, and a tail, in both orders."""
    inputs, chunks = test_chunks.draw(1, 2, 3, 50, 16, 16, 2, torch.float32)
    for order in ("queries", "chunks"):
        yield from errors(
            lambda q, k, v, w, order=order: labkernels.hsa.op.hierarchical_attention(q, k, v, chunks, w, order=order),
            lambda q, k, v, w: chosen_attention(q, k, v, chunks, w),
            inputs,
        )


def of_the_choice() -> Iterator[float]:
    """0 if the best of the past are chosen, the older of equals; more landmarks than a tile."""
    generator = torch.Generator().manual_seed(0)
    queries, landmarks = (torch.randn(1, 1, time, 16, generator=generator) for time in (46, 23))
    landmarks[..., 1::2, :] = landmarks[..., ::2, :][..., :11, :]  # each twice
    found = select.select_chunks(queries, landmarks, 2, 3)[0, 0]
    scores = (queries @ landmarks.mT)[0, 0].double() - 1e-6 * torch.arange(23)
    past = torch.arange(46)[:, None] >= (torch.arange(23) + 1) * 2
    best = scores.masked_fill(~past, -torch.inf).topk(3)
    right = best.indices.masked_fill(best.values == -torch.inf, 1 << 30).sort(-1).values
    yield float((found.masked_fill(found < 0, 1 << 30) != right).any())


def of_the_loss() -> Iterator[float]:
    """Errors with ends of all axes, weights of 0 and a temperature; with logits so far below 0 that 2^-lse is inf."""
    for dtype, below in ((torch.float32, 0.0), (torch.float64, 2000.0)):
        yield from test_linear_kl.errors_of(test_linear_kl.draw(37, 41, 48, 16, dtype, below), 2.0)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch):
    monkeypatch.setattr(distillation_op, "fitting", lambda *_: Tiles(16, 16))
    monkeypatch.setattr(distillation_op, "block", lambda *_: 32)
    monkeypatch.setattr(window_op, "fitting", lambda *_: Tiles(16, 16))
    monkeypatch.setattr(launch, "FOR_DKV", Tiles(16, 16))
    monkeypatch.setattr(launch, "CHUNK_MAJOR", Tiles(16, 16))
    monkeypatch.setattr(select, "TILES", Tiles(16, 16))


ERRORS = {
    WINDOW: (window_op, of_the_window),
    CHUNKS: (launch, of_the_chunks),
    CHOICE: (select, of_the_choice),
    LOSS: (distillation_op, of_the_loss),
}
FOLDERS = {CHOICE: "hsa"}


@pytest.mark.parametrize("folder", ERRORS)
def test_the_kernels_themselves_pass(folder):
    assert max(ERRORS[folder][1]()) < FARTHEST[torch.float32]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("change", MUTANTS.values(), ids=MUTANTS.keys())
def test_a_planted_mistake_is_seen(change, tmp_path, monkeypatch, allocations):
    place, found = ERRORS[change[0]]
    folder, *place_and_change = change
    put_in_place(mutant(FOLDERS.get(folder, folder), *place_and_change, tmp_path), place, monkeypatch)
    seen = any(error > FARTHEST[torch.float32] for error in found())  # the first that is seen is enough
    try:
        allocations.check()
    except AssertionError:
        seen = True
    allocations.buffers.clear()
    assert seen
