"""Taking a circuit away does what it says, is undone, and watching does not touch the training."""

import functools

import pytest
import torch
from torch import Generator

from lablib.data.retrieval import RetrievalConfig, training_batch
from lablib.longcontext.ablation import Circuits, windows_cut, without_retrieval
from lablib.longcontext.seesaw import answer_questions
from lablib.nn.hsa import SparseAttention
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.loop import TrainConfig, fit

DATA = RetrievalConfig(num_noise=4, num_keys=4, num_values=4)


def make_model(window: int = 16, **changes) -> LanguageModel:
    cfg = ModelConfig(**{"vocab": DATA.vocab, "width": 16, "window": window, "top_k": 2, **changes})
    return LanguageModel(cfg, Generator().manual_seed(0)).eval()


@torch.no_grad()
def logits(model: LanguageModel) -> torch.Tensor:
    return model(torch.randint(DATA.vocab, (3, 64), generator=Generator().manual_seed(1)))


@pytest.mark.parametrize("bypass", [True, False])
def test_without_retrieval_is_the_model_whose_reads_are_zero(bypass):
    model, silent = make_model(bypass=bypass), make_model(bypass=bypass)
    for layer in silent.modules():
        if isinstance(layer, SparseAttention):
            torch.nn.init.zeros_(layer.out.weight)
    whole = logits(model)
    with without_retrieval(model):
        assert torch.equal(logits(model), logits(silent))
    assert not torch.equal(whole, logits(silent))
    assert torch.equal(logits(model), whole), "undone afterwards"


def test_cut_windows_are_the_windows_of_a_narrow_model_with_the_same_weights():
    wide, narrow = make_model(16), make_model(8)
    narrow.load_state_dict(wide.state_dict())
    whole = logits(wide)
    with windows_cut(wide, 8):
        assert torch.equal(logits(wide), logits(narrow))
    assert not torch.equal(whole, logits(narrow))
    assert torch.equal(logits(wide), whole), "undone afterwards"


def test_a_cut_wider_than_the_window_or_through_full_attention_changes_nothing():
    for model in (make_model(8), make_model(plan="full full")):
        whole = logits(model)
        with windows_cut(model, 12):
            assert torch.equal(logits(model), whole)


@pytest.mark.parametrize("take_away", [without_retrieval, functools.partial(windows_cut, window=4)])
def test_what_is_taken_away_comes_back_when_the_block_raises(take_away):
    model = make_model()
    whole = logits(model)
    with pytest.raises(KeyError), take_away(model):
        raise KeyError
    assert torch.equal(logits(model), whole)


def train(*hooks) -> tuple[LanguageModel, list[dict]]:
    model = make_model()
    cfg = TrainConfig(steps=6, batch=4, log_every=2)
    table = fit(model, functools.partial(training_batch, DATA), cfg, Generator().manual_seed(3), hooks=hooks)
    return model, table.to_dict("records")


def test_watching_the_circuits_leaves_the_training_bitwise_alone():
    one, plain = train()
    other, watched = train(Circuits(DATA, far=128, every=2, seed=0, haystacks=1, questions=3))
    assert all(torch.equal(x, y) for x, y in zip(one.parameters(), other.parameters(), strict=True))
    assert [row["loss"] for row in plain] == [row["loss"] for row in watched]
    assert one.training == other.training


def test_circuits_are_asked_every_so_many_steps_only():
    _, rows = train(Circuits(DATA, far=128, every=4, seed=0, haystacks=1, questions=2))
    asked = {row["step"]: row["whole"] == row["whole"] for row in rows}
    assert asked == {2: False, 4: True, 6: False}


def test_the_batch_of_questions_finds_what_one_at_a_time_finds():
    """`answer_questions` streams each input; the training length is asked in one batch."""
    model, _ = train()
    model.eval()
    asks = Circuits(DATA, far=64, every=1, seed=9, haystacks=3, questions=20)
    row: dict[str, float] = {}
    asks.at_eval(0, model, row)
    assert row["whole"] == row["far"]
    generator = Generator().manual_seed(9)
    hits = [hit for _ in range(3) for hit in answer_questions(model, DATA, 64, 20, generator)["hit"]]
    assert 0 < sum(hits) < 60
    assert asks.near_share(model) == sum(hits) / 60
