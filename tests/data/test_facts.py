"""Facts stand where they should, once, and their questions as far behind them as was asked for."""

import pytest
import torch
from torch import Generator

from lablib.data.facts import Facts, FactsConfig

CFG = FactsConfig(facts=3, nearest=6, farthest=12)
FACT, ASK = 16, 17


def draw(cfg: FactsConfig = CFG, length: int = 60, batch: int = 64, seed: int = 0):
    return Facts(cfg)(length, batch, Generator().manual_seed(seed))


def test_each_fact_is_asked_once_with_its_own_value():
    batch = draw()
    tokens = torch.cat([batch.tokens, batch.targets[:, -1:]], 1)
    for row in range(64):
        known = {}
        for at in (tokens[row] == FACT).nonzero()[:, 0].tolist():
            known[int(tokens[row, at + 1])] = int(tokens[row, at + 2])
        asked = (tokens[row] == ASK).nonzero()[:, 0].tolist()
        assert len(known) == len(asked) == 3
        assert {int(tokens[row, at + 1]): int(tokens[row, at + 2]) for at in asked} == known


def test_the_evidence_is_the_value_of_the_fact_and_lies_as_far_back_as_wanted():
    batch = draw()
    rows, places = (batch.evidence >= 0).nonzero(as_tuple=True)
    evidence = batch.evidence[rows, places]
    assert len(rows) == 3 * 64
    assert torch.equal(batch.tokens[rows, evidence], batch.targets[rows, places])
    apart = places + 1 - evidence  # from value to value
    assert apart.min() >= CFG.nearest
    assert apart.max() <= CFG.farthest
    assert set(apart.tolist()) == {6, 9, 12}


def test_answers_alone_weigh_more():
    batch = draw()
    assert torch.equal(batch.weight == CFG.answer_weight, batch.evidence >= 0)
    assert set(batch.weight.unique().tolist()) == {1.0, CFG.answer_weight}


def test_texts_follow_the_generator():
    assert torch.equal(draw(seed=1).tokens, draw(seed=1).tokens)
    assert not torch.equal(draw(seed=1).tokens, draw(seed=2).tokens)


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"facts": 17}, "keys do not repeat"), ({"facts": 0}, "facts is 0"), ({"nearest": 13}, "nearest=13")],
)
def test_bad_facts_are_refused(fields, said):
    with pytest.raises(ValueError, match=said):
        CFG.replace(**fields)


def test_facts_without_room_are_refused_instead_of_searched_for_ever():
    with pytest.raises(ValueError, match="3 facts at 6 tokens and more have no room in 20 tokens"):
        draw(length=20)
