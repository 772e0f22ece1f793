"""What is adaptive follows the model: more of what is not learnt, wider only while retrieval holds."""

import math

import pytest
import torch
from torch import Generator

from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.adaptive import AdaptiveMix, AdaptiveWindow, LengthBandit
from lablib.longcontext.curriculum import Rows
from lablib.longcontext.stages import KINDS
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig

DATA = RetrievalConfig(length=32, max_distance=24)


def make_model() -> LanguageModel:
    return LanguageModel(ModelConfig(vocab=DATA.vocab, width=8, chunk=4, window=8, top_k=2), Generator().manual_seed(0))


def make_rows() -> Rows:
    rows = Rows(DATA)
    rows.lengths, rows.length_weights = (32, 64), [1.0, 1.0]
    rows.kind_weights = [0.2, 0.2, 0.6, 0.0]
    return rows


# ---- the mix


def test_more_is_drawn_of_the_length_that_is_not_learnt():
    rows = make_rows()
    mix = AdaptiveMix(rows, every=1, seed=0, floor=0.1)
    mix.accuracy = {"retrieval 32": 1.0, "reasoning 32": 1.0, "retrieval 64": 0.5, "reasoning 64": 0.1}
    mix.before_step(0, make_model())
    assert rows.length_weights == pytest.approx([0.1, 0.8])


def test_retrieval_and_reasoning_share_their_weight_by_need_and_the_rest_keeps_its_own():
    rows = make_rows()
    mix = AdaptiveMix(rows, every=1, seed=0, floor=0.1)
    mix.accuracy = {"retrieval 32": 1.0, "retrieval 64": 1.0, "reasoning 32": 0.7, "reasoning 64": 0.7}
    mix.before_step(0, make_model())
    weights = dict(zip(KINDS, rows.kind_weights, strict=True))
    assert weights["retrieval"] + weights["reasoning"] == pytest.approx(0.4)
    assert weights["reasoning"] / weights["retrieval"] == pytest.approx(4.0)
    assert weights["plain"] == pytest.approx(0.6)
    assert weights["copied"] == 0.0


def test_before_the_first_look_the_mix_is_that_of_the_stage():
    rows = make_rows()
    AdaptiveMix(rows, every=1, seed=0).before_step(0, make_model())
    assert rows.kind_weights == pytest.approx([0.2, 0.2, 0.6, 0.0])
    assert rows.length_weights[0] == pytest.approx(rows.length_weights[1])


def test_a_mix_without_questions_is_left_alone():
    rows = make_rows()
    rows.kind_weights = [0.0, 0.0, 1.0, 0.0]
    AdaptiveMix(rows, every=1, seed=0).before_step(0, make_model())
    assert rows.kind_weights == [0.0, 0.0, 1.0, 0.0]


def test_the_accuracy_is_that_of_rows_of_the_kind_and_length():
    rows, model, row = make_rows(), make_model(), {}
    mix = AdaptiveMix(rows, every=2, seed=0, batch=200)
    mix.at_eval(0, model, row)
    assert row == {}, "not at every step"
    mix.at_eval(1, model, row)
    assert set(row) == {f"accuracy_{kind}_{length}" for kind in ("retrieval", "reasoning") for length in (32, 64)}
    batch = rows.source("retrieval", 64)(200, Generator().manual_seed(64))
    right = (model(batch.tokens).argmax(-1) == batch.targets)[batch.weight > 0].float().mean()
    assert row["accuracy_retrieval_64"] == pytest.approx(float(right))


# ---- the window


class Answers(LanguageModel):
    """Answers a share of the questions rightly, and remembers under which windows it was asked."""

    def __init__(self, share: float):
        super().__init__(make_model().cfg)
        self.share, self.seen = share, []

    def forward(self, tokens):
        self.seen.append(self.window)
        right = torch.nn.functional.one_hot(tokens.roll(-1, dims=1), DATA.vocab).float()
        wrong = torch.rand(len(tokens), generator=Generator().manual_seed(1)).argsort() >= self.share * len(tokens)
        right[wrong] = 0.0
        return right


def widths(shares: list[float]) -> list[int]:
    rows = make_rows()
    window = AdaptiveWindow(rows, [4, 8, 16], every=1, seed=0, enough=0.9, little=0.5, batch=40)
    found = []
    for step, share in enumerate(shares):
        model = Answers(share)
        window.before_step(step, model)
        found.append(model.window)
        window.at_eval(step, model, {})
        assert model.seen == [4], "asked with the windows cut to a chunk"
        assert model.window == found[-1], "and put back"
    return found


def test_the_window_widens_while_retrieval_holds_and_goes_back_when_it_does_not():
    assert widths([0.2, 0.7, 1.0, 0.95, 1.0, 0.7, 0.1, 0.0, 0.0]) == [4, 4, 4, 8, 16, 16, 16, 8, 4]


# ---- the bandit


def test_the_bandit_draws_what_makes_progress():
    rows = make_rows()
    bandit = LengthBandit(rows, every=1, seed=0, rate=0.5, explore=0.2)
    level = {32: 3.0, 64: 3.0}

    def loss(model, length):
        return level[length]

    bandit.loss = loss
    drawn = []
    for step in range(150):
        bandit.before_step(step, make_model())
        drawn.append(bandit.drawn)
        assert rows.length_weights == [float(length == bandit.drawn) for length in rows.lengths]
        level[64] -= 0.2 * (bandit.drawn == 64)  # only long rows teach something
        bandit.at_eval(step, make_model(), {})
    late = drawn[75:]
    assert late.count(64) / len(late) > 0.75
    assert 32 in late, "and goes on exploring"


def test_a_bandit_without_progress_stays_undecided():
    bandit = LengthBandit(make_rows(), every=1, seed=0)
    bandit.loss = lambda model, length: 1.0
    for step in range(20):
        bandit.before_step(step, make_model())
        bandit.at_eval(step, make_model(), {})
    assert bandit.probabilities() == pytest.approx([0.5, 0.5])


def test_one_length_is_held_between_two_looks():
    rows = make_rows()
    bandit = LengthBandit(rows, every=5, seed=0)
    drawn = []
    for step in range(20):
        bandit.before_step(step, make_model())
        drawn.append(bandit.drawn)
        bandit.at_eval(step, make_model(), {})
    assert all(len(set(drawn[i : i + 5])) == 1 for i in range(0, 20, 5))
    assert len(set(drawn)) == 2


# ---- bad input


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rows: AdaptiveMix(rows, 1, 0, floor=0.0), "floor is 0.0"),
        (lambda rows: AdaptiveWindow(rows, [8, 8], 1, 0), "windows is"),
        (lambda rows: AdaptiveWindow(rows, [], 1, 0), "windows is"),
        (lambda rows: AdaptiveWindow(rows, [0, 8], 1, 0), "windows is"),
        (lambda rows: AdaptiveWindow(rows, [8], 1, 0, enough=0.1), "little=0.8 and enough=0.1"),
        (lambda rows: LengthBandit(rows, 1, 0, explore=0.0), "explore=0.0"),
        (lambda rows: LengthBandit(rows, 1, 0, rate=math.nan), "rate=nan"),
    ],
)
def test_settings_that_cannot_steer_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make(make_rows())
