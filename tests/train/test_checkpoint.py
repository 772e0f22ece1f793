"""A checkpoint is read whole or refused with one clear line; it is replaced whole or not at all."""

import json
import os

import pytest
import torch
from safetensors.torch import save, save_file
from torch import Generator

from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.checkpoint import (
    FORMAT,
    CheckpointError,
    Running,
    load_checkpoint,
    load_model,
    read_checkpoint,
    save_checkpoint,
)
from lablib.train.optim import OptimConfig, build_optimizer

ROWS = [{"step": 3, "loss": 0.1 + 0.2, "gap": float("nan")}]


def make_model(seed: int = 0, **changes) -> LanguageModel:
    cfg = ModelConfig(**{"plan": "swa", "vocab": 12, "width": 8, "window": 4, **changes})
    return LanguageModel(cfg, Generator().manual_seed(seed))


def trained(seed: int = 0):
    """A model after two steps, its optimizer, and a generator that has been used."""
    model, generator = make_model(seed), Generator().manual_seed(seed)
    optimizer = build_optimizer(model, OptimConfig())
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.randint(12, (2, 9), generator=generator)).square().mean().backward()
        optimizer.step()
    return model, optimizer, generator


@pytest.fixture
def kept(tmp_path):
    """A checkpoint of run "a", and what is in it."""
    model, optimizer, generator = trained()
    path = tmp_path / "run.safetensors"
    save_checkpoint(path, Running(model, optimizer, generator, "a"), 3, ROWS)
    return path, model, optimizer, generator


def load(path, run: str = "a", **changes):
    model, generator = make_model(5, **changes), Generator().manual_seed(5)
    return load_checkpoint(path, Running(model, build_optimizer(model, OptimConfig()), generator, run))


def test_everything_comes_back_bitwise(kept):
    path, model, optimizer, generator = kept
    expected_next, global_next = None, None
    other, same_optimizer, same_generator = trained(8)
    torch.manual_seed(1)
    save_checkpoint(path, Running(model, optimizer, generator, "a"), 3, ROWS)
    expected_next, global_next = torch.rand(4, generator=generator), torch.rand(4)
    step, rows = load_checkpoint(path, Running(other, same_optimizer, same_generator, "a"))
    assert step == 3
    assert str(rows) == str(ROWS)
    assert torch.equal(torch.rand(4), global_next)
    assert torch.equal(torch.rand(4, generator=same_generator), expected_next)
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    one, two = optimizer.state_dict(), same_optimizer.state_dict()
    assert json.dumps(one["param_groups"]) == json.dumps(two["param_groups"])
    assert one["state"].keys() == two["state"].keys()
    for index, slots in one["state"].items():
        assert all(torch.equal(value, two["state"][index][name]) for name, value in slots.items())


def test_the_weights_alone_can_be_read(kept):
    path, model, *_ = kept
    other = make_model(5)
    load_model(path, other)
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in model.state_dict().items())


def test_tied_weights_can_be_kept(tmp_path):
    model, generator = make_model(), Generator()
    model.head.weight = model.embedding.weight
    save_checkpoint(tmp_path / "run", Running(model, build_optimizer(model, OptimConfig()), generator, "a"), 1, [])
    other = make_model(5)
    other.head.weight = other.embedding.weight
    load_model(tmp_path / "run", other)
    assert torch.equal(other.embedding.weight, model.embedding.weight)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_truncated_file_is_refused(kept, share):
    path = kept[0]
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match=r"run\.safetensors cannot be read as a checkpoint .*delete it to start"):
        load(path)


FOREIGN = {
    "a JSON file": (json.dumps({"step": 3}).encode(), "cannot be read as a checkpoint"),
    "a text": (b"hello, this is a text that is longer than the header of a safetensors file", "cannot be read"),
    "another safetensors file": (save({"x": torch.zeros(3)}), "was not written by this lab: its format is None"),
    "one with another note": (save({"x": torch.zeros(3)}, metadata={"json": "[1]"}), "was not written by this lab"),
    "one with a broken note": (save({"x": torch.zeros(3)}, metadata={"json": "{"}), "cannot be read"),
    "a later format": (
        save({"x": torch.zeros(3)}, metadata={"json": json.dumps({"format": "lablib-checkpoint-9"})}),
        f"its format is 'lablib-checkpoint-9', expected '{FORMAT}'",
    ),
}


@pytest.mark.parametrize(("content", "message"), FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_refused(tmp_path, content, message):
    path = tmp_path / "run.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"^run\.safetensors .*{message}"):
        load(path)


def test_a_checkpoint_of_another_run_is_refused_before_anything_is_touched(kept):
    path, *_ = kept
    model, generator = make_model(5), Generator().manual_seed(5)
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, generator.get_state()
    with pytest.raises(CheckpointError, match=r"belongs to run a, not to b: the configuration has changed; delete"):
        load_checkpoint(path, Running(model, build_optimizer(model, OptimConfig()), generator, "b"))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(generator.get_state(), state)


@pytest.mark.parametrize("changes", [{"width": 16}, {"plan": "swa swa"}, {"vocab": 13}], ids=str)
def test_a_checkpoint_of_another_model_is_refused(kept, changes):
    with pytest.raises(CheckpointError, match=r"run\.safetensors holds another model than the one asked for"):
        load(kept[0], **changes)
    with pytest.raises(CheckpointError, match="holds another model"):
        load_model(kept[0], make_model(**changes))


def test_a_checkpoint_that_is_not_there_is_one_clear_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"nothing\.safetensors cannot be read"):
        read_checkpoint(tmp_path / "nothing.safetensors")


def test_an_error_names_the_file_and_no_path(kept):
    path = kept[0]
    path.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        load(path)
    assert str(path.parent) not in str(caught.value)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_an_interrupted_save_leaves_the_checkpoint_before_it(kept, monkeypatch, step):
    path, model, optimizer, generator = kept
    before = path.read_bytes()

    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, step, fail)
    with pytest.raises(KeyboardInterrupt):
        save_checkpoint(path, Running(model, optimizer, generator, "a"), 4, [])
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir() if file.is_file()] == [path.name]
    assert load(path)[0] == 3


def test_saving_changes_nothing(kept):
    path, model, optimizer, generator = kept
    before, state = {k: v.clone() for k, v in model.state_dict().items()}, generator.get_state()
    save_checkpoint(path, Running(model, optimizer, generator, "a"), 3, ROWS)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(generator.get_state(), state)


def test_a_checkpoint_is_plain_safetensors(kept, tmp_path):
    facts, tensors = read_checkpoint(kept[0])
    save_file(tensors, tmp_path / "again")
    assert {name.split("/")[0] for name in tensors} == {"model", "optimizer", "generator"}
    assert {"format", "run", "step", "rows"} <= facts.keys()
