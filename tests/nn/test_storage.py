"""Where a chunk store lies changes nothing that is read from it; what does not fit is refused before any work."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from test_streaming import DEEP, draw_tokens, make_model

from lablib.nn import storage
from lablib.nn.storage import check_room, empty_store
from lablib.nn.streaming import encode, planted, read

GIB = 2**30


@pytest.mark.parametrize("length", [0, 5, 8, 100, 1000])
@pytest.mark.parametrize("heads", [1, 2])
def test_a_store_on_disk_is_the_store_in_memory_bit_for_bit(length, heads, generator, tmp_path):
    model, tokens = make_model(DEEP, num_kv_heads=heads), draw_tokens(generator, 1, length)
    tails = draw_tokens(generator, 2, 5)
    here, there = encode(model, tokens, segment=64), encode(model, tokens, segment=64, folder=tmp_path)
    assert all(torch.equal(x, y) for x, y in zip(here.memory, there.memory, strict=True))
    assert torch.equal(read(model, here, tails), read(model, there, tails))
    if length >= 100:
        starts, plants = torch.tensor([[10], [90]]), draw_tokens(generator, 2, 1, 4)
        asked = [read(model, planted(model, stream, tokens, starts, plants), tails) for stream in (here, there)]
        assert torch.equal(*asked)


def test_the_files_are_mapped_and_leave_no_names_behind(generator, tmp_path):
    model = make_model()
    stream = encode(model, draw_tokens(generator, 1, 1000), folder=tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert "chunk-store-" in maps.read_text()
    assert stream.num_bytes == model.cfg.store_bytes(1000)


def test_a_file_that_cannot_be_made_large_enough_raises_and_is_removed(tmp_path, monkeypatch):
    def full(handle, start, number):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "posix_fallocate", full, raising=False)
    with pytest.raises(OSError, match="No space left"):
        empty_store(make_model().cfg, 10, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("plan", ["swa swa", "swa memory swa+hsa", DEEP])
@pytest.mark.parametrize("length", [0, 7, 100, 640])
def test_the_bytes_are_those_that_a_stream_takes(plan, length, generator):
    model = make_model(plan, num_kv_heads=2)
    assert model.cfg.store_bytes(length) == encode(model, draw_tokens(generator, 1, length)).num_bytes


@pytest.fixture
def room(monkeypatch):
    """Sets what is free, in bytes."""

    def set_room(memory, disk=0):
        monkeypatch.setattr(storage, "available_memory", lambda: memory)
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda folder: SimpleNamespace(free=disk))

    return set_room


def test_a_length_beyond_memory_is_refused_with_what_it_needs_and_the_way_out(room):
    cfg = make_model().cfg
    length = 16_777_216
    needs = (cfg.store_bytes(length) + 16 * length + storage.BESIDE) / GIB
    room(memory=int((needs - 0.2) * GIB))
    words = rf"length={length} needs {needs:.1f} GiB of memory, but {needs - 0.2:.1f} GiB are free: .*mapped=True"
    with pytest.raises(ValueError, match=words):
        check_room(cfg, length)
    room(memory=int((needs + 0.1) * GIB))
    check_room(cfg, length)


def test_a_length_beyond_the_disk_is_refused_with_the_way_out(room, tmp_path):
    cfg, length = make_model().cfg, 67_108_864
    needs = cfg.store_bytes(length)
    room(memory=4 * GIB, disk=needs - GIB)
    with pytest.raises(ValueError, match=rf"length={length} needs {needs / GIB:.1f} GiB of disk .*LAB_HOME"):
        check_room(cfg, length, tmp_path)
    room(memory=4 * GIB, disk=needs)
    check_room(cfg, length, tmp_path / "not" / "there yet")
    room(memory=GIB, disk=needs)  # the tokens themselves stay in memory
    with pytest.raises(ValueError, match=r"GiB of memory, .*: give a smaller length$"):
        check_room(cfg, length, tmp_path)
