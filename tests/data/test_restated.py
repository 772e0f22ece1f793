"""A definition restated asks for what its own line in the row says, and nothing else is changed."""

import pytest
import torch
from needle_reader import positions, seeded

from lablib.data.retrieval import RetrievalConfig, restated_batch, training_batch

CHAINS = [{"hops": 1, "num_pairs": 2}, {"hops": 2, "num_pairs": 1}, {"hops": 3, "num_pairs": 2}]


@pytest.mark.parametrize("changes", CHAINS, ids=str)
def test_the_last_definition_of_the_row_repeats_an_earlier_one(changes):
    cfg = RetrievalConfig(task="tracking", **changes)
    batch = restated_batch(cfg, 64, seeded())
    assert not (batch.tokens == cfg.ask).any()
    for tokens, targets, weight, evidence in zip(*batch, strict=True):
        marks = positions(tokens, cfg.mark)
        (at,) = positions(weight, 1.0)
        assert marks[-1] == at - 1
        said = {int(tokens[mark + 1]): mark + 2 for mark in marks[:-1]}
        place = said[int(tokens[at])]
        assert int(evidence[at]) == place
        assert targets[at] == tokens[place] == tokens[at + 1]
        assert cfg.first_key <= int(tokens[place]) < cfg.first_value, "a key, one step down the chain"


def test_it_is_the_row_of_the_chain_but_for_question_and_answer():
    cfg = RetrievalConfig(task="tracking", hops=1, num_pairs=2)
    chains, restated = training_batch(cfg, 16, seeded()), restated_batch(cfg, 16, seeded())
    differs = chains.tokens != restated.tokens
    row, at = (chains.weight > 0).nonzero(as_tuple=True)
    expected = torch.zeros_like(differs)
    expected[row, at - 1] = expected[row, at + 1] = True
    assert torch.equal(differs, expected)
    assert torch.equal(chains.weight, restated.weight)


def test_only_chains_can_be_restated():
    for cfg in (RetrievalConfig(), RetrievalConfig(task="tracking", hops=0)):
        with pytest.raises(ValueError, match="only chains of at least one hop"):
            restated_batch(cfg, 2, seeded())
