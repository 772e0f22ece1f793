"""Ways to tune: each begins with the outputs of the base, trains what it says, and is saved without the base."""

import copy

import pytest
import torch

from lablib.nn.layers import Linear
from lablib.nn.lora import activate
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.tuning import AdapterFileError, TuningConfig, load_tuning, save_tuning, trainable, tuned

CFG = ModelConfig(plan="full full", vocab=11, width=16, bias=True)
COUNTS = {"full": 0, "LoRA": 14, "rsLoRA": 14, "DoRA": 14, "adapters": 4, "BitFit": 14, "head": 0}


@pytest.fixture
def base(generator):
    return LanguageModel(CFG, generator)


def way(method, **fields):
    return TuningConfig(method=method, count=COUNTS[method], **fields)


def trained(model, generator):
    """As if it were: every trainable weight is another one."""
    with torch.no_grad():
        for p in trainable(model).values():
            p.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
    return model


def biases(model):
    return {
        f"{name}.bias" for name, part in model.named_modules() if isinstance(part, Linear) and name.startswith("blocks")
    }


@pytest.mark.parametrize("method", COUNTS)
def test_a_tuned_model_begins_as_its_base_and_trains_its_part(method, base, generator):
    rows = torch.randint(11, (3, 9), generator=generator)
    model, before = tuned(base, way(method), generator), copy.deepcopy(base.state_dict())
    torch.testing.assert_close(model(rows), base(rows), rtol=0, atol=1e-5 if method == "DoRA" else 0)
    names = set(trainable(model))
    expected = {
        "full": set(before), "head": {"head.weight"}, "BitFit": biases(base),
        "adapters": {name for name in model.state_dict() if ".after.1." in name},
    }.get(method, {name for name in model.state_dict() if ".adapters." in name})  # fmt: skip
    assert names
    assert names == expected
    trained(model, generator)
    assert not torch.allclose(model(rows), base(rows), atol=1e-3)
    after = base.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items()), "the base was changed"


@pytest.mark.parametrize("method", COUNTS)
def test_what_was_trained_is_saved_alone(method, base, generator, tmp_path):
    rows, path = torch.randint(11, (3, 9), generator=generator), tmp_path / "tuning.safetensors"
    model = trained(tuned(base, way(method), generator), generator)
    save_tuning(path, model, way(method), base)
    assert torch.equal(load_tuning(path, base)(rows), model(rows))
    sizes = sum(4 * p.numel() for p in trainable(model).values())
    assert sizes < path.stat().st_size < sizes + 8_000


def test_two_adapters_are_loaded_onto_one_base(base, generator, tmp_path):
    rows, made = torch.randint(11, (3, 9), generator=generator), {}
    for name in ("one", "two"):
        made[name] = trained(tuned(base, way("LoRA"), generator, name), generator)
        save_tuning(tmp_path / name, made[name], way("LoRA"), base, name)
    both = load_tuning(tmp_path / "two", load_tuning(tmp_path / "one", base))
    for name, model in made.items():
        activate(both, name)
        assert torch.equal(both(rows), model(rows))


def test_another_base_is_refused(base, generator, tmp_path):
    path = tmp_path / "tuning"
    save_tuning(path, tuned(base, way("BitFit"), generator), way("BitFit"), base)
    with torch.no_grad():
        base.head.weight[0, 0] += 1
    with pytest.raises(AdapterFileError, match=r"was trained on the base .*load the base that it was trained on"):
        load_tuning(path, base)


@pytest.mark.parametrize("content", [b"", b"nothing", None])
def test_what_is_no_such_file_is_refused(content, base, tmp_path):
    path = tmp_path / "tuning"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(AdapterFileError, match="holds no tuning that this lab has saved"):
        load_tuning(path, base)


WRONG = {
    "no bias": (CFG.replace(bias=False), "BitFit", "'blocks.*.bias' matches 0 parameters, expected 14"),
    "another depth": (CFG.replace(plan="full"), "LoRA", "'blocks.*' matches 7 modules, expected 14"),
    "other parts": (CFG.replace(plan="full"), "adapters", "'blocks.*' matches 2 modules, expected 4"),
}


@pytest.mark.parametrize(("cfg", "method", "words"), WRONG.values(), ids=WRONG)
def test_a_model_without_the_parts_is_refused(cfg, method, words, generator):
    with pytest.raises(ValueError, match=words.replace("*", r"\*")):
        tuned(LanguageModel(cfg), way(method), generator)
