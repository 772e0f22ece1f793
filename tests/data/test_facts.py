"""Facts stand where they should, once, and their questions as far behind them as was asked for."""

import numpy as np
import pytest
import torch
from torch import Generator

from lablib.data.facts import Facts, FactsConfig, place_pairs

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


# ---- crowded rows

CROWDED = {
    "one placement alone": (FactsConfig(facts=4, nearest=121, farthest=240), 135),
    "a sixth of the slots": (FactsConfig(facts=16, nearest=96, farthest=96), 143),
    "blocks of the nearest distance": (FactsConfig(facts=5, nearest=9, farthest=9), 45),
    "as many facts as have room": (FactsConfig(facts=7, nearest=3, farthest=3), 63),
}


@pytest.mark.parametrize(("cfg", "length"), CROWDED.values(), ids=CROWDED.keys())
def test_a_crowded_row_ends_with_every_fact_in_its_place(cfg, length):
    batch = draw(cfg, length, batch=40)
    rows, places = (batch.evidence >= 0).nonzero(as_tuple=True)
    assert rows.bincount().tolist() == [cfg.facts] * 40
    apart = places + 1 - batch.evidence[rows, places]
    assert cfg.nearest <= int(apart.min()) <= int(apart.max()) <= cfg.farthest
    tokens = torch.cat([batch.tokens, batch.targets[:, -1:]], 1)
    for row in tokens:
        assert int((row == FACT).sum()) == int((row == ASK).sum()) == cfg.facts, "no slot is used twice"


def test_room_is_refused_only_where_there_is_none():
    """By trying all pairs of slots: the most facts that fit are the most that are drawn."""

    def most(slots: int, near: int, far: int) -> int:
        pairs = [(i, i + n) for n in range(near, far + 1) for i in range(slots - n)]

        def fill(left: list, free: frozenset) -> int:
            fitting = [(a, b) for a, b in left if a in free and b in free]
            if not fitting:
                return 0
            a, b = fitting[0]
            return max(1 + fill(fitting[1:], free - {a, b}), fill(fitting[1:], free))

        return fill(pairs, frozenset(range(slots)))

    for slots, near, far in [(7, 5, 6), (8, 4, 4), (9, 6, 7), (9, 3, 3), (6, 5, 5), (6, 3, 5)]:
        for facts in range(1, slots // 3 + 1):
            cfg = FactsConfig(facts=facts, nearest=3 * near, farthest=3 * far)
            if facts <= most(slots, near, far):
                assert draw(cfg, 3 * slots - 1, batch=5).tokens.shape == (5, 3 * slots - 1)
            else:
                with pytest.raises(ValueError, match="have no room"):
                    draw(cfg, 3 * slots - 1, batch=5)


def test_rows_with_room_are_drawn_pair_by_pair_as_ever():
    """The plain rejection, which these texts were always drawn by."""
    cfg, slots = FactsConfig(facts=6, nearest=6, farthest=30), 24
    one, other = np.random.default_rng(5), np.random.default_rng(5)
    found = place_pairs(one, 50, slots, cfg)
    for row in range(50):
        taken: set[int] = set()
        for i in range(6):
            while True:
                apart = int(other.integers(2, 11))
                start = int(other.integers(0, slots - apart))
                if not taken & {start, start + apart}:
                    break
            taken |= {start, start + apart}
            assert found[row, i].tolist() == [start, start + apart]
    assert one.random() == other.random()
