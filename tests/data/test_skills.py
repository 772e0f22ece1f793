"""Texts of three skills: every claim of the docstring, on drawn rows."""

import pytest
import torch
from torch import Generator

from lablib.data.languages import LanguageConfig
from lablib.data.skills import CYCLE, Skills, SkillsConfig

CFG = SkillsConfig()


def drawn(length: int = 60, rows: int = 64, cfg: SkillsConfig = CFG, seed: int = 0):
    return Skills(cfg)(length, rows, Generator().manual_seed(seed))


def test_a_recalled_value_stands_where_evidence_says_and_nowhere_between():
    batch = drawn()
    tokens = torch.cat([batch.tokens, batch.targets[:, -1:]], 1)
    checked = 0
    for row, place in (batch.evidence >= 0).nonzero().tolist():
        value, key, before = int(tokens[row, place + 1]), int(tokens[row, place]), int(batch.evidence[row, place])
        assert int(tokens[row, before]) == value
        assert int(tokens[row, before - 1]) == key
        assert key not in tokens[row, before:place].tolist()
        checked += 1
    assert checked > 100


def test_what_cannot_be_known_does_not_count_and_answers_count_more():
    batch, parts = drawn(), Skills(CFG).parts(drawn())
    assert set(batch.weight.unique().tolist()) == {0.0, 1.0, 4.0}
    assert bool((batch.weight[parts["recall"]] == 4).all())
    assert bool((batch.weight[parts["facts"]] == 4).all())
    assert bool((batch.weight[parts["text"]] == 1).all())
    first, values = CFG.language.vocab + 2 + CFG.num_keys, CFG.num_values
    new = (batch.targets >= first) & (batch.targets < first + values) & (batch.evidence < 0)
    assert bool((batch.weight[new] == 0).all())
    assert bool(new.any())


def test_a_fact_has_one_answer_and_another_table_another():
    answers: dict[tuple[int, ...], int] = {}
    for seed in range(3):
        batch = drawn(seed=seed, rows=256)
        facts = Skills(CFG).parts(batch)["facts"]
        for row, place in facts.nonzero().tolist():
            key = tuple(batch.tokens[row, place - 2 : place + 1].tolist())
            assert answers.setdefault(key, int(batch.targets[row, place])) == int(batch.targets[row, place])
    other = SkillsConfig(table_seed=1)
    assert not torch.equal(Skills(CFG).answers, Skills(other).answers)


def test_words_follow_the_tables_of_the_language_across_what_stands_between():
    cfg = SkillsConfig(language=LanguageConfig(kind="topics", vocab=5, num_tables=1, concentration=0.2))
    batch = drawn(900, 32, cfg)
    words = batch.tokens[batch.tokens < 5].reshape(32, -1)
    counts = torch.zeros(5, 5).index_put_((words[:, :-1], words[:, 1:]), torch.tensor(1.0), accumulate=True)
    seen = counts / counts.sum(1, keepdim=True)
    assert (seen - Skills(cfg).language.tables[0]).abs().max() < 0.1


@pytest.mark.parametrize("length", [1, 14, 15, 16, 64])
def test_any_length_gives_rows_that_a_longer_one_begins_with(length):
    batch = drawn(length, 5)
    assert batch.tokens.shape == batch.targets.shape == batch.weight.shape == batch.evidence.shape == (5, length)
    assert int(batch.tokens.max()) < CFG.vocab
    assert torch.equal(batch.tokens[:, 1:], batch.targets[:, :-1])
    assert bool((batch.tokens[:, ::CYCLE] == CFG.language.vocab).all())  # a cycle begins with BIND


def test_keys_in_use_are_as_many_as_asked():
    for keys in (1, 24):
        tokens = drawn(600, 4, SkillsConfig(keys=keys)).tokens
        first = CFG.language.vocab + 2
        seen = [set(row[(row >= first) & (row < first + CFG.num_keys)].tolist()) for row in tokens]
        assert all(len(one) == keys if keys == 1 else 12 < len(one) <= keys for one in seen)


@pytest.mark.parametrize("changes", [{"keys": 0}, {"keys": 25}, {"first_symbols": 7}, {"answer_weight": -1.0},
                                     {"num_values": 0}, {"answer_weight": float("inf")}])  # fmt: skip
def test_what_cannot_be_drawn_is_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        SkillsConfig(**changes)


def test_no_rows_and_no_length():
    assert drawn(20, 0).tokens.shape == (0, 20)
    with pytest.raises(ValueError, match="length is 0; expected at least 1"):
        drawn(0)
