"""The trace of the fast weights: what was seen, what the weights add, and nothing where they do not move."""

import torch

from lablib.ttt.experiments.trace import most_frequent, successors, trace, trace_arms


def test_successors_are_counted_in_what_was_read():
    text = torch.tensor([1, 2, 1, 2, 1, 0, 3])
    assert most_frequent(text)[:2] == [1, 2]
    seen = successors(text, [1, 3], vocab=4)
    assert [seen[f"seen_0_{j}"] for j in range(4)] == [1, 0, 2, 0]
    assert [seen[f"seen_1_{j}"] for j in range(4)] == [0, 0, 0, 0]
    assert (seen["watched_0"], seen["watched_1"]) == (1, 3)


def test_the_weights_begin_where_they_began_and_move_by_the_rate_alone():
    cfg = trace_arms("smoke")[0]
    still, moving = (trace.function(cfg.replace(factor=factor)) for factor in (0.0, 1.0))
    names = [name.removeprefix("now") for name in still if name.startswith("now_")]

    def apart(table, row):
        return max(abs(table[f"now{name}"].iloc[row] - table[f"first{name}"].iloc[row]) for name in names)

    assert still["moved"].eq(0).all()
    assert apart(still, -1) == 0
    assert moving["moved"].iloc[0] == 0
    assert apart(moving, 0) == 0
    assert moving["moved"].iloc[-1] > 0
    assert apart(moving, -1) > 0
