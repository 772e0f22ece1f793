"""What a model is measured by: means over what there is, by position and by batch; nothing has no mean."""

import math

import numpy as np
import pytest
import torch

from lablib.data.batch import Batch, every_next
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.train.evaluate import by_position, by_sequences, forward_flops, held_out, mean_where

MODEL = LanguageModel(ModelConfig(plan="swa", vocab=5, width=8))


def rows(batch: int, generator: torch.Generator) -> Batch:
    return every_next(torch.randint(5, (batch, 9), generator=generator))


def test_a_mean_over_nothing_is_not_known():
    x = torch.tensor([1.0, 5.0])
    assert mean_where(x, x > 2) == 5.0
    assert math.isnan(mean_where(x, x > 9))
    assert math.isnan(held_out(MODEL, rows, 2, torch.Generator(), batches=1)["accuracy"]), "no row has evidence"


@pytest.mark.parametrize("tokens", [1, 7, 20, 1 << 20])
def test_a_few_sequences_at_a_time_are_all_of_them(tokens):
    batch = every_next(torch.arange(60).view(6, 10))
    found = by_sequences(lambda part: part.tokens * 2, batch, tokens)
    assert torch.equal(found, batch.tokens * 2)


@pytest.mark.parametrize("time", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("resolution", [0, 1])
def test_stretches_cover_every_position_once(time, resolution):
    losses = torch.rand(3, time, generator=torch.Generator().manual_seed(0))
    table = by_position(losses, None, resolution)
    assert table["start"].tolist() == [0, *table["stop"].tolist()[:-1]]
    assert table["stop"].iloc[-1] == time
    weighed = np.average(table["loss"], weights=table["stop"] - table["start"])
    assert weighed == pytest.approx(float(losses.mean()), rel=1e-5)


REFUSED = {
    "no rows": (lambda: held_out(MODEL, rows, 0, torch.Generator()), "rows is 0; expected at least 1"),
    "no batches": (lambda: held_out(MODEL, rows, 2, torch.Generator(), batches=0), "batches is 0; expected at least 1"),
    "no texts": (lambda: by_sequences(lambda part: part.tokens, every_next(torch.zeros(0, 5).long())), "texts is 0"),
    "texts of no token": (
        lambda: by_sequences(lambda part: part.tokens, every_next(torch.zeros(2, 1).long())),
        "length is 0; expected at least 1",
    ),
    "losses of no text": (lambda: by_position(torch.zeros(0, 4), None, 1), "texts is 0; expected at least 1"),
    "losses of no token": (lambda: by_position(torch.zeros(4, 0), None, 0), "length is 0; expected at least 1"),
    "another resolution": (lambda: by_position(torch.zeros(4, 4), None, 2), "resolution is 2; expected 1 .* or 0"),
    "the work of no row": (lambda: forward_flops(MODEL, 0, 4), "rows is 0; expected at least 1"),
    "the work of no token": (lambda: forward_flops(MODEL, 2, 0), "length is 0; expected at least 1"),
}


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_has_no_mean_is_refused(call, said):
    with pytest.raises(ValueError, match=said):
        call()
