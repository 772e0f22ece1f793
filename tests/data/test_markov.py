"""The language with known probabilities: what it draws follows its table, and a shift changes what it says."""

import pytest
import torch
from torch import Generator

from lablib.data.markov import Markov, MarkovConfig

SMALL = MarkovConfig(vocab=4, concentration=0.5)


def test_rows_follow_the_table():
    language = Markov(SMALL)
    rows = language.draw(40, 3000, Generator().manual_seed(0))
    first, second, after = rows[:, :-2].flatten(), rows[:, 1:-1].flatten(), rows[:, 2:].flatten()
    counts = torch.zeros(4, 4, 4).index_put((first, second, after), torch.ones(()), accumulate=True)
    seen = counts.sum(-1) > 2000
    assert seen.sum() > 8
    shares = (counts / counts.sum(-1, keepdim=True))[seen]
    torch.testing.assert_close(shares, language.table[seen], rtol=0, atol=0.04)


def test_probabilities_are_those_of_the_last_two_tokens():
    language = Markov(SMALL)
    tokens = torch.tensor([[2, 0, 3, 3], [1, 1, 0, 2]])
    found = language.log_probabilities(tokens).exp()
    torch.testing.assert_close(found.sum(-1), torch.ones(2, 4))
    torch.testing.assert_close(found[:, 0], torch.full((2, 4), 0.25))
    for row in range(2):
        for t in range(1, 4):
            torch.testing.assert_close(found[row, t], language.table[tokens[row, t - 1], tokens[row, t]])


def test_what_has_no_context_does_not_count():
    batch = Markov(SMALL)(5, 3, Generator().manual_seed(0))
    assert batch.weight.tolist() == [[0, 1, 1, 1, 1]] * 3
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])


def test_a_shift_of_frequencies_is_one_factor_a_token():
    before, after = Markov(SMALL), Markov(SMALL.replace(shift="unigram", strength=1.0))
    ratio = (after.table / before.table).flatten(0, 1)
    odds = ratio / ratio[:, :1]
    torch.testing.assert_close(odds, odds[:1].expand(16, 4))
    assert odds[0].max() / odds[0].min() > 1.5


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_shift_of_transitions_changes_its_share_of_the_contexts(share):
    before, after = Markov(SMALL), Markov(SMALL.replace(shift="transitions", strength=share))
    changed = (before.table != after.table).any(-1)
    assert changed.sum() == share * 16


def test_tables_come_from_their_seed():
    assert torch.equal(Markov(SMALL).table, Markov(SMALL).table)
    assert not torch.equal(Markov(SMALL).table, Markov(SMALL.replace(table_seed=1)).table)


ODD = {
    "a share above 1": ({"shift": "transitions", "strength": 1.5}, "strength is 1.5; expected a share"),
    "one token": ({"vocab": 1}, "vocab"),
    "a negative strength": ({"shift": "unigram", "strength": -1.0}, "strength"),
}


@pytest.mark.parametrize(("fields", "words"), ODD.values(), ids=ODD)
def test_what_is_no_language_is_refused(fields, words):
    with pytest.raises(ValueError, match=words):
        MarkovConfig(**fields)


def test_unknown_tokens_and_short_rows_are_refused():
    with pytest.raises(ValueError, match="expected 0 to 3"):
        Markov(SMALL).log_probabilities(torch.tensor([[4]]))
    with pytest.raises(ValueError, match="length is 1; expected at least 2"):
        Markov(SMALL).draw(1, 3, Generator())
