"""Training rows: the answer is there, once, where it is said to be; nothing else gives it away."""

import itertools
import math

import pytest
import torch
from needle_reader import TEXT, follow, positions, seeded

from lablib.data.batch import Batch
from lablib.data.retrieval import SLOT, RetrievalConfig, training_batch

TASKS = {
    "one needle": {},
    "six needles": {"num_pairs": 6},
    "two-token keys": {"num_pairs": 5, "key_tokens": 2},
    "hard distractors": {"num_pairs": 6, "key_tokens": 2, "shared_keys": True},
    "over text": {"num_pairs": 3, "haystack": "text"},
    "with a local component": {"num_pairs": 3, "copy_probability": 0.5},
    "no offset": {"num_pairs": 3, "offsets": 1},
    "near": {"num_pairs": 2, "max_distance": 16},
    "far": {"num_pairs": 2, "min_distance": 32},
    "log-uniform": {"num_pairs": 2, "distance": "log-uniform"},
    "pareto": {"num_pairs": 2, "distance": "pareto"},
    "a crowded row": {"num_pairs": 7},
    "a ragged length": {"num_pairs": 3, "length": 61},
    "tracking": {"task": "tracking", "num_pairs": 1},
    "two chains": {"task": "tracking", "num_pairs": 2, "hops": 3},
    "a chain without hops": {"task": "tracking", "num_pairs": 2, "hops": 0},
}
tasks = pytest.mark.parametrize("changes", TASKS.values(), ids=TASKS.keys())


def draw(cfg: RetrievalConfig, batch: int = 64, seed: int = 5, **options) -> Batch:
    return training_batch(cfg, batch, seeded(seed), TEXT, **options)


# ---- a training row


@tasks
def test_the_same_generator_state_gives_the_same_batch_bitwise_and_another_another(changes):
    cfg = RetrievalConfig(**changes)
    generator = seeded()
    state = generator.get_state()
    first, second = (training_batch(cfg, 8, generator, TEXT) for _ in range(2))
    generator.set_state(state)
    again = training_batch(cfg, 8, generator, TEXT)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not torch.equal(first.tokens, second.tokens)


@tasks
def test_drawing_takes_nothing_from_the_global_generator(changes):
    before = torch.random.get_rng_state()
    draw(RetrievalConfig(**changes))
    assert torch.equal(torch.random.get_rng_state(), before)


@tasks
def test_every_query_is_answered_by_the_needle_that_the_evidence_names(changes):
    cfg = RetrievalConfig(**changes)
    batch = draw(cfg)
    assert batch.tokens.shape == (64, cfg.length)
    for row in range(64):
        tokens = batch.tokens[row]
        asks = positions(tokens, cfg.ask)
        assert len(asks) == cfg.num_asked
        due = []
        for ask in asks:
            last = ask + cfg.key_tokens  # the position from which the answer is predicted
            evidence, marks = follow(cfg, tokens, tuple(tokens[ask + 1 : last + 1].tolist()))
            assert batch.evidence[row, last] == evidence
            assert batch.targets[row, last] == tokens[evidence] == tokens[last + 1]
            assert max(marks) < ask
            assert len(marks) == (cfg.hops + 1 if cfg.task == "tracking" else 1)
            due.append(last)
        assert positions(batch.evidence[row] >= 0, True) == sorted(due)
        assert positions(batch.weight[row], 1.0) == sorted(due)
        assert batch.weight[row].sum() == cfg.num_asked


@tasks
def test_targets_are_the_next_tokens_and_what_follows_the_row_does_not_count(changes):
    cfg = RetrievalConfig(**changes)
    for answers_only in (True, False):
        batch = draw(cfg, answers_only=answers_only)
        assert torch.equal(batch.targets[:, :-1], batch.tokens[:, 1:])
        assert (batch.weight[:, -1] == 0).all()
        assert batch.weight.sum() == 64 * (cfg.num_asked if answers_only else cfg.length - 1)


def test_the_objective_changes_the_weights_and_nothing_else():
    cfg = RetrievalConfig(num_pairs=3)
    one, other = draw(cfg, answers_only=True), draw(cfg, answers_only=False)
    assert all(
        torch.equal(getattr(one, name), getattr(other, name)) == (name != "weight")
        for name in ("tokens", "targets", "evidence", "weight")
    )


@tasks
def test_values_stand_only_in_needles_and_answers(changes):
    """So nothing before a needle, and nothing but the needle, tells what the answer is."""
    cfg = RetrievalConfig(**changes)
    tokens = draw(cfg).tokens
    value = (tokens >= cfg.first_value) & (tokens < cfg.mark)
    assert (value.sum(dim=1) == cfg.num_pairs + cfg.num_asked).all()


@tasks
def test_drawing_other_values_changes_the_values_and_no_other_token(changes):
    cfg = RetrievalConfig(**changes)
    fewer = cfg.replace(num_values=8)
    one, other = draw(cfg).tokens, draw(fewer).tokens
    value = (one >= cfg.first_value) & (one < cfg.mark)
    assert torch.equal(value, (other >= fewer.first_value) & (other < fewer.mark))
    assert (other[value] < fewer.first_value + 8).all()
    assert not torch.equal(one[value], other[value])
    for special in ("mark", "ask"):
        assert torch.equal(one == getattr(cfg, special), other == getattr(fewer, special))
    plain = ~value & (one < cfg.first_value)
    assert torch.equal(one[plain], other[plain])


def test_values_are_uniform_and_independent_of_their_keys():
    cfg = RetrievalConfig(num_keys=4, num_values=4)
    batch = draw(cfg, 8000)
    row, last = (batch.evidence >= 0).nonzero(as_tuple=True)
    key = batch.tokens[row, last] - cfg.first_key
    value = batch.targets[row, last] - cfg.first_value
    counts = torch.bincount(4 * key + value, minlength=16).double()
    chi_squared = float(((counts - 500).square() / 500).sum())
    assert chi_squared < 15 + 5 * math.sqrt(30)


@pytest.mark.parametrize("changes", [{"num_keys": 8, "num_values": 9}, {"haystack": "text"}, {"num_noise": 30}])
def test_token_kinds_have_ids_of_their_own_that_fill_the_vocabulary(changes):
    cfg = RetrievalConfig(**changes)
    first = 256 if cfg.haystack == "text" else cfg.num_noise
    kinds = [first, cfg.num_keys, cfg.num_values, 1, 1]
    starts = [0, cfg.first_key, cfg.first_value, cfg.mark, cfg.ask, cfg.vocab]
    assert [b - a for a, b in itertools.pairwise(starts)] == kinds
    tokens = draw(cfg, 500).tokens
    assert int(tokens.max()) == cfg.vocab - 1
    assert int(tokens.min()) >= 0


@tasks
def test_needles_and_queries_stand_in_slots_and_all_else_is_noise(changes):
    cfg = RetrievalConfig(**changes)
    batch = draw(cfg)
    starts = torch.zeros_like(batch.tokens, dtype=torch.bool)
    for special in (cfg.mark, cfg.ask):
        starts |= batch.tokens == special
    for row in range(64):
        places = positions(starts[row], True)
        assert len({place % SLOT for place in places}) == 1, "one offset a row"
        assert all(b - a >= SLOT for a, b in itertools.pairwise(places))
        used = [place + i for place in places for i in range(2 + cfg.key_tokens)]
        rest = torch.ones(cfg.length, dtype=torch.bool)
        rest[used] = False
        assert (batch.tokens[row][rest] < cfg.first_key).all()
        assert (batch.tokens[row][~rest] >= cfg.first_key).all()


@pytest.mark.parametrize("offsets", [1, 2, 3, 4])
def test_slots_start_at_every_offset_that_is_asked_for(offsets):
    cfg = RetrievalConfig(offsets=offsets)
    _, place = (draw(cfg, 400).tokens == cfg.mark).nonzero(as_tuple=True)
    counts = torch.bincount(place % SLOT, minlength=SLOT)
    assert (counts[offsets:] == 0).all()
    share, spread = 400 / offsets, math.sqrt(400 / offsets * (1 - 1 / offsets))
    assert ((counts[:offsets] - share).abs() <= 5 * spread).all()


@pytest.mark.parametrize("batch", [1, 0])
def test_a_batch_may_be_small_or_empty(batch):
    assert draw(RetrievalConfig(), batch).tokens.shape == (batch, 64)


# ---- distances


def distances(cfg: RetrievalConfig, batch: int) -> torch.Tensor:
    """From MARK to ASK, for each pair."""
    drawn = draw(cfg, batch)
    row, last = (drawn.evidence >= 0).nonzero(as_tuple=True)
    return (last - cfg.key_tokens) - (drawn.evidence[row, last] - 1 - cfg.key_tokens)


@pytest.mark.parametrize(("low", "high"), [(4, 56), (4, 4), (8, 16), (32, 56), (48, 56)])
def test_distances_stay_within_their_bounds_while_there_is_room(low, high):
    found = distances(RetrievalConfig(min_distance=low, max_distance=high), 500)
    assert int(found.min()) >= low
    assert int(found.max()) <= high
    assert set(found.unique().tolist()) <= set(range(low, high + 1, SLOT))


@pytest.mark.parametrize(
    ("shape", "density"),
    [("uniform", lambda d: 1.0), ("log-uniform", lambda d: 1 / d), ("pareto", lambda d: d**-2)],
    ids=["uniform", "log-uniform", "pareto"],
)
@pytest.mark.parametrize("high", [24, 56])
def test_a_single_needle_has_the_distribution_of_placements_that_was_asked_for(shape, density, high):
    number, possible = 6000, range(4, high + 1, SLOT)
    found = distances(RetrievalConfig(distance=shape, max_distance=high), number)
    slots = (64 - 4 + 1) // SLOT
    weights = [density(d) * (slots - d // SLOT) for d in possible]  # every placement of a distance counts
    expected = torch.tensor([number * weight / sum(weights) for weight in weights])
    counts = torch.tensor([int((found == d).sum()) for d in possible])
    degrees = len(expected) - 1
    chi_squared = float(((counts - expected).square() / expected).sum())
    assert chi_squared < degrees + 5 * math.sqrt(2 * degrees), dict(zip(possible, counts.tolist(), strict=True))


def test_heavier_tails_are_farther():
    mean = {
        shape: float(distances(RetrievalConfig(distance=shape), 1000).float().mean())
        for shape in ("uniform", "log-uniform", "pareto")
    }
    assert mean["pareto"] < mean["log-uniform"] < mean["uniform"]


# ---- keys


def keys_of(cfg: RetrievalConfig, tokens: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(int(tokens[mark + 1 + i]) for i in range(cfg.key_tokens)) for mark in positions(tokens, cfg.mark)]


@tasks
def test_keys_are_distinct_in_a_row(changes):
    cfg = RetrievalConfig(**changes)
    for tokens in draw(cfg).tokens:
        keys = keys_of(cfg, tokens)
        assert len(set(keys)) == len(keys)
        assert all(cfg.first_key <= part < cfg.first_value for key in keys for part in key)


@pytest.mark.parametrize("shared", [False, True], ids=["free", "shared"])
def test_two_token_keys_differ_in_the_second_token_and_couples_share_the_first(shared):
    cfg = RetrievalConfig(num_pairs=6, key_tokens=2, shared_keys=shared)
    alone = 0
    for tokens in draw(cfg, 200).tokens:
        first, second = zip(*keys_of(cfg, tokens), strict=True)
        assert len(set(second)) == 6
        alone += sum(first.count(part) == 1 for part in first)
    assert (alone == 0) == shared


# ---- what does not fit

WRONG = {
    "too many pairs": ({"num_pairs": 8}, "16 needles and queries do not fit the 15 slots of a row of 64 tokens"),
    "too many links": ({"task": "tracking", "num_pairs": 5, "hops": 2}, "16 needles and queries do not fit"),
    "no offset": ({"offsets": 0}, "offsets is 0; expected 1 to 4"),
    "offsets past the slot": ({"offsets": 5}, "offsets is 5; expected 1 to 4"),
    "distances below a slot": ({"min_distance": 3}, "distances 3 to 56: expected 4 <= min <= max"),
    "distances upside down": ({"min_distance": 20, "max_distance": 16}, "distances 20 to 16"),
    "too few keys": ({"num_pairs": 6, "num_keys": 5}, "6 pairs need more than the 5 distinct keys"),
    "too few keys for chains": ({"task": "tracking", "num_pairs": 2, "num_keys": 5}, "2 pairs need more than the 5"),
    "chains of two-token keys": ({"task": "tracking", "key_tokens": 2}, "one-token keys; got key_tokens=2"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_task_that_does_not_fit_is_refused_with_the_numbers(changes, message):
    with pytest.raises(ValueError, match=message):
        RetrievalConfig(**changes)
