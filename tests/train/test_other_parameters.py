"""A checkpoint goes by the names of parameters: of frozen ones, and of compiled models."""

import json

import pytest
import torch
from safetensors.torch import save
from small_run import TRAIN, assert_same, make_model, run, weights

from lablib.nn.surgery import freeze, plain_module
from lablib.train.checkpoint import CheckpointError, load_model, read_checkpoint
from lablib.train.hooks import Hook
from lablib.train.optim import Multipliers, OptimConfig, build_optimizer

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")  # torch.compile imports what torch calls deprecated


def nothing_left(batch: int, generator: torch.Generator):
    raise AssertionError("nothing is left to train")


class Stop(Exception):
    pass


class StopAt(Hook):
    def before_step(self, step, model):
        if step == 6:
            raise Stop


def frozen(*patterns: str, seed: int = 0):
    model = make_model(seed, plan="swa swa swa")
    for pattern in patterns:
        freeze(model, pattern, count=1)
    return model


def cut(path, *patterns: str) -> None:
    with pytest.raises(Stop):
        run(frozen(*patterns), hooks=[StopAt()], checkpoint=path)


def as_written_before(path) -> None:
    facts, tensors = read_checkpoint(path)
    older = {name: value for name, value in facts.items() if name not in ("trained", "settings")}
    path.write_bytes(save(tensors, metadata={"json": json.dumps(older)}))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("patterns", [(), ("blocks.0",), ("blocks.1.mlp", "head")])
def test_the_same_parameters_go_on_bitwise(patterns, old, tmp_path):
    whole, _ = run(frozen(*patterns))
    cut(tmp_path / "run", *patterns)
    if old:
        as_written_before(tmp_path / "run")
    assert_same(weights(whole), weights(run(frozen(*patterns), checkpoint=tmp_path / "run")[0]))


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize(
    ("there", "here"),
    [(("blocks.0",), ("blocks.1",)), (("blocks.2",), ()), ((), ("blocks.2",)), (("blocks.0.mlp",), ("blocks.2.mlp",))],
)
def test_the_moments_of_another_layer_are_refused_and_nothing_is_touched(there, here, old, tmp_path):
    cut(tmp_path / "run", *there)
    if old:
        as_written_before(tmp_path / "run")
    model = frozen(*here)
    before = weights(model)
    with pytest.raises(CheckpointError, match="run is of a run that trained other parameters than this one"):
        run(model, checkpoint=tmp_path / "run")
    assert_same(before, weights(model))


def test_an_old_checkpoint_that_cannot_tell_what_was_frozen_is_refused(tmp_path):
    cut(tmp_path / "run", "blocks.0")
    as_written_before(tmp_path / "run")
    with pytest.raises(CheckpointError, match="or it cannot be told; freeze the same ones"):
        run(frozen("blocks.0", seed=5), checkpoint=tmp_path / "run")


# ---- compiled models: wrapped and never called, so nothing is compiled here


def whole(model):
    return torch.compile(model)


def one_block(model):
    model.blocks[1] = torch.compile(model.blocks[1])
    return model


def the_head(model):
    model.head = torch.compile(model.head)
    return model


COMPILED = {"whole": whole, "one block": one_block, "the head": the_head}


@pytest.mark.parametrize("wrap", COMPILED.values(), ids=COMPILED.keys())
def test_a_checkpoint_of_a_compiled_model_is_one_of_the_plain_model(wrap, tmp_path, monkeypatch):
    monkeypatch.setattr("torch._dynamo.config.disable", True, raising=False)
    plain, table = run(checkpoint=tmp_path / "plain")
    other = wrap(make_model(9))
    load_model(tmp_path / "plain", other)  # of the plain model into the compiled one
    assert [torch.equal(a, b) for a, b in zip(other.parameters(), plain.parameters(), strict=True)]
    _, again = run(wrap(make_model(9)), draw=nothing_left, checkpoint=tmp_path / "plain")
    assert again["loss"].tolist() == table["loss"].tolist()
    with torch.compiler.set_stance("force_eager"):
        run(wrap(make_model()), checkpoint=tmp_path / "compiled")
    back = make_model(9)
    load_model(tmp_path / "compiled", back)
    assert_same(weights(back), weights(plain))
    assert read_checkpoint(tmp_path / "compiled")[1].keys() == read_checkpoint(tmp_path / "plain")[1].keys()


def test_a_checkpoint_that_older_code_wrote_of_a_compiled_model_is_read(tmp_path):
    plain, _ = run(checkpoint=tmp_path / "run")
    facts, tensors = read_checkpoint(tmp_path / "run")
    wrapped = {name.replace("model/", "model/_orig_mod."): value for name, value in tensors.items()}
    (tmp_path / "run").write_bytes(save(wrapped, metadata={"json": json.dumps(facts)}))
    for model in (make_model(9), whole(make_model(9))):
        load_model(tmp_path / "run", model)
        assert_same(weights(plain_module(model)), weights(plain))


@pytest.mark.parametrize("wrap", COMPILED.values(), ids=COMPILED.keys())
def test_the_groups_of_a_compiled_model_are_those_of_the_plain_one(wrap):
    def slow_head(name, parameter):
        return Multipliers(lr=0.5) if name == "head.weight" else Multipliers()

    cfg, sizes = OptimConfig(), []
    for model in (make_model(), wrap(make_model())):
        sizes.append([(g["peak_lr"], len(g["params"])) for g in build_optimizer(model, cfg, slow_head).param_groups])
    assert sizes[0] == sizes[1]
    assert TRAIN.optim.lr / 2 in {rate for rate, number in sizes[0] if number}
