"""Numbers and token ids that cannot be meant are named, with what was expected."""

import math

import pytest
import torch

from lablib.core.refusals import at_least, known_ids


def test_numbers_at_the_least_and_above_pass():
    at_least(1, batch=1, window=1 << 40)
    at_least(0.5, share=0.5, most=math.inf)


@pytest.mark.parametrize(
    ("least", "given", "said"),
    [
        (1, {"batch": 0}, "batch is 0; expected at least 1"),
        (0, {"length": -5, "batch": 2, "rows": -1}, "length is -5, rows is -1; expected at least 0"),
        (0, {"share": math.nan}, "share is nan; expected at least 0"),
    ],
)
def test_what_lies_below_is_named_and_nothing_else(least, given, said):
    with pytest.raises(ValueError, match=said):
        at_least(least, **given)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
def test_ids_of_the_vocabulary_pass_also_none(dtype):
    known_ids(5, tokens=torch.arange(5, dtype=dtype), nothing=torch.zeros(2, 0, dtype=dtype))


@pytest.mark.parametrize(
    ("ids", "said"),
    [
        ([[0, 5]], "tokens hold ids from 0 to 5; expected 0 to 4"),
        ([[-1, 2]], "tokens hold ids from -1 to 2; expected 0 to 4"),
        ([[0.5, 1.0]], r"tokens are torch.float32; expected whole numbers"),
    ],
)
def test_other_ids_are_refused(ids, said):
    with pytest.raises(ValueError, match=said):
        known_ids(5, tokens=torch.tensor(ids))
