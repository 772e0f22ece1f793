"""The best loss of each language is the best: by counting, by the table itself, and no look at the future."""

import itertools
import math

import pytest
import torch
from torch import Generator

from lablib.data.languages import Language, LanguageConfig

KINDS = ("topics", "rows", "own tables")


def language(kind: str, **fields) -> Language:
    return Language(LanguageConfig(**{"kind": kind, "vocab": 3, "num_tables": 2, "concentration": 0.5, **fields}))


@pytest.mark.parametrize("kind", ["topics", "rows"])
def test_the_best_prediction_is_that_of_all_tables_weighed_by_what_was_seen(kind):
    """By enumeration: every assignment of prototypes is a table; the prior is even."""
    known = language(kind)
    batch = known(9, 4, Generator().manual_seed(0))
    choices = itertools.product(range(2), repeat=1 if kind == "topics" else 3)
    log_joint = []
    for choice in choices:
        table = known.tables[list(choice) * (3 // len(choice)), torch.arange(3)]
        log_joint.append(table[batch.tokens, batch.targets].log().cumsum(1))
    together = torch.stack(log_joint).logsumexp(0) - math.log(len(log_joint))  # log p of the text so far
    expected = -torch.diff(together, dim=1, prepend=torch.zeros(4, 1))
    torch.testing.assert_close(known.bayes(batch.tokens, batch.targets), expected, rtol=1e-4, atol=1e-5)


def test_the_best_prediction_of_own_tables_is_that_of_the_urn():
    known = language("own tables", concentration=1.0)
    tokens, targets = torch.tensor([[0, 1, 0, 0]]), torch.tensor([[1, 0, 0, 1]])
    chances = torch.tensor([[1 / 3, 1 / 3, 1 / 4, 2 / 5]])
    torch.testing.assert_close(known.bayes(tokens, targets), -chances.log())


@pytest.mark.parametrize("kind", KINDS)
def test_who_knows_the_table_is_better_still_and_in_the_end_no_better(kind):
    known = language(kind, vocab=4, concentration=0.3)
    generator = Generator().manual_seed(1)
    tables = known.tables_of_sequences(512, generator)
    known.tables_of_sequences = lambda batch, generator: tables
    batch = known(200, 512, generator)
    best = known.bayes(batch.tokens, batch.targets).mean(0)
    oracle = -tables[torch.arange(512)[:, None], batch.tokens, batch.targets].log().mean(0)
    assert best[0] > oracle[0] + 0.1
    assert abs(best[-20:].mean() - oracle[-20:].mean()) < (0.05 if kind == "own tables" else 0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_prediction_is_the_mean_table_and_no_prediction_sees_the_future(kind):
    known = language(kind)
    batch = known(8, 16, Generator().manual_seed(2))
    losses, changed = known.bayes(batch.tokens, batch.targets), batch.targets.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 3
    tokens = torch.cat([batch.tokens[:, :6], changed[:, 5:-1]], 1)
    assert torch.equal(known.bayes(tokens, changed)[:, :5], losses[:, :5])
    mean = known.tables.mean(0) if kind != "own tables" else torch.full((3, 3), 1 / 3)
    torch.testing.assert_close(losses[:, 0], -mean[batch.tokens[:, 0], batch.targets[:, 0]].log(), rtol=1e-4, atol=1e-5)


def test_a_language_is_the_same_for_everyone_and_its_texts_follow_the_generator():
    one, two = language("rows"), language("rows")
    assert torch.equal(one.tables, two.tables)
    assert not torch.equal(one.tables, language("rows", table_seed=1).tables)
    drawn = [one(20, 3, Generator().manual_seed(seed)).tokens for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_rows_of_a_table_sum_to_one():
    torch.testing.assert_close(language("rows").tables.sum(-1), torch.ones(2, 3))


@pytest.mark.parametrize("fields", [{"vocab": 1}, {"num_tables": 0}, {"concentration": 0.0}])
def test_a_bad_language_is_refused(fields):
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is .*; expected (at least|more than)"):
        LanguageConfig(**fields)
