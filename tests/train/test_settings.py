"""What a training leaves beside the weights is the same whether it was trained in this call, resumed, or only read."""

import json

import pytest
import torch
from safetensors.torch import save
from small_run import DATA, TRAIN, make_model, run
from torch import nn

from lablib.data.retrieval import training_batch
from lablib.train.checkpoint import read_checkpoint
from lablib.train.hooks import Hook


def as_written_before(path) -> None:
    """The file without what older ones do not have."""
    facts, tensors = read_checkpoint(path)
    older = {name: value for name, value in facts.items() if name not in ("trained", "settings")}
    path.write_bytes(save(tensors, metadata={"json": json.dumps(older)}))


def nothing_left(batch: int, generator: torch.Generator):
    raise AssertionError("nothing is left to train")


class Rows:
    """Draws, and has what a hook steers."""

    def __init__(self):
        self.lengths, self.weights, self.kind, self.none = (8, 16), [1.0, 2.0], "plain", None

    def __call__(self, batch, generator):
        return training_batch(DATA, batch, generator)


class Steer(Hook):
    """Changes the model, one of its parts and the rows; `once` at a single step, so that no later one repeats it."""

    def __init__(self, rows: Rows, once: bool):
        self.rows, self.once = rows, once

    def before_step(self, step: int, model: nn.Module) -> None:
        if step == 3 or not self.once:
            model.set_reading(3 + step, 1)
            model.blocks[0].mixers[0].part.theta = 50.0 + step
            model.blocks[1].new = "set"
            self.rows.lengths, self.rows.weights[1], self.rows.kind = (step,), 0.5 * step, "steered"
            self.rows.none = step

    def at_eval(self, step: int, model: nn.Module, row: dict) -> None:
        model.train(step % 2 == 0)


def left(model, rows) -> list:
    part = model.blocks[0].mixers[0].part
    flags = [module.training for module in model.modules()]
    gradients = [parameter.grad for parameter in model.parameters()]
    return [model.window, model.top_k, part.theta, model.blocks[1].new, vars(rows), flags, gradients]


@pytest.mark.parametrize("once", [False, True], ids=["every step", "one step"])
@pytest.mark.parametrize("cut", [None, 5, 9])
def test_what_hooks_have_set_is_there_again(once, cut, tmp_path):
    class Stop(Exception):
        pass

    class StopAt(Hook):
        def before_step(self, step, model):
            if step == cut:
                raise Stop

    def trained(*more: Hook):
        rows = Rows()
        model, _ = run(draw=rows, hooks=[Steer(rows, once), *more], checkpoint=tmp_path / "run")
        return left(model, rows)

    rows = Rows()
    expected = left(run(draw=rows, hooks=[Steer(rows, once)])[0], rows)
    assert (expected[0], expected[4]["lengths"]) == ((6, (3,)) if once else (3 + TRAIN.steps - 1, (TRAIN.steps - 1,)))
    assert expected[-1] == [None] * len(expected[-1]), "no gradient is left over"
    if cut is not None:
        with pytest.raises(Stop):
            trained(StopAt())
    for _ in range(2):  # trained, or resumed; then only read
        assert trained() == expected


def test_a_finished_run_may_be_read_with_other_rows_or_none(tmp_path):
    rows = Rows()
    run(draw=rows, hooks=[Steer(rows, False)], checkpoint=tmp_path / "run")
    model, _ = run(draw=nothing_left, hooks=[Steer(Rows(), False)], checkpoint=tmp_path / "run")
    assert model.window == 3 + TRAIN.steps - 1


def test_a_finished_run_from_before_settings_were_kept_is_set_as_its_last_step(tmp_path):
    rows = Rows()
    expected = left(run(draw=rows, hooks=[Steer(rows, False)], checkpoint=tmp_path / "run")[0], rows)
    as_written_before(tmp_path / "run")
    again = Rows()
    model, _ = run(make_model(9), draw=again, hooks=[Steer(again, False)], checkpoint=tmp_path / "run")
    assert (model.window, vars(again)) == (expected[0], expected[4])


def test_tuples_that_a_hook_keeps_come_back_as_tuples(tmp_path):
    class Keeps(Hook):
        kept = ("seen",)
        seen = ()

        def at_eval(self, step, model, row):
            self.seen = (*self.seen, step)

    for _ in range(2):
        hook = Keeps()
        run(hooks=[hook], checkpoint=tmp_path / "run")
        assert hook.seen == (2, 5, 8, 10)


# ---- who is trained


def test_a_part_that_is_replaced_or_unfrozen_during_the_run_is_not_left_untrained_in_silence():
    class Unfreeze(Hook):
        def before_step(self, step, model):
            model.head.requires_grad_(step > 0)

    class Replace(Hook):
        def before_step(self, step, model):
            if step == 1:
                model.head = nn.Linear(8, DATA.vocab, bias=False)

    frozen = make_model()
    frozen.head.requires_grad_(False)
    for model, hook in ((frozen, Unfreeze()), (make_model(), Replace())):
        with pytest.raises(RuntimeError, match=r"head.weight is not trained: it was unfrozen or replaced"):
            run(model, hooks=[hook])


# ---- where torch takes no gradients


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_training_takes_gradients_wherever_it_is_called(mode, tmp_path):
    expected, table = run()
    with mode():
        model, again = run(make_model_outside(), checkpoint=tmp_path / "run")
        read, _ = run(make_model_outside(), checkpoint=tmp_path / "run")
        assert not torch.is_grad_enabled()
    assert again["loss"].tolist() == table["loss"].tolist()
    for trained in (model, read):
        assert all(torch.equal(a, b) for a, b in zip(expected.parameters(), trained.parameters(), strict=True))


def make_model_outside():
    with torch.inference_mode(False):
        return make_model()


def test_a_model_made_in_inference_mode_is_refused_by_name():
    with torch.inference_mode():
        model = make_model()
    with pytest.raises(ValueError, match=r"embedding.weight was made in torch.inference_mode and can have no gradient"):
        run(model)
