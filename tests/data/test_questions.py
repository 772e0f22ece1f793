"""Questions on one haystack: planted where they say, asked in a tail that ends where the answer is due."""

import math

import pytest
import torch
from needle_reader import TEXT, follow, positions, read_needles, seeded

from lablib.data.questions import Questions, draw_questions
from lablib.data.retrieval import SLOT, RetrievalConfig

QUESTIONS = {
    "one needle": ({}, {}),
    "six needles, one asked": ({}, {"num_needles": 6}),
    "six needles, two asked": ({}, {"num_needles": 6, "asked": 2}),
    "two-token keys, three asked": ({"key_tokens": 2}, {"num_needles": 4, "asked": 3}),
    "hard distractors": ({"key_tokens": 2, "shared_keys": True}, {"num_needles": 6, "asked": 2}),
    "over text": ({"haystack": "text"}, {"num_needles": 3, "asked": 2}),
    "with a local component": ({"copy_probability": 0.5}, {"num_needles": 2}),
    "tracking": ({"task": "tracking"}, {}),
    "two chains, both asked": ({"task": "tracking", "num_pairs": 2}, {"num_needles": 2, "asked": 2}),
}
questions = pytest.mark.parametrize(("changes", "options"), QUESTIONS.values(), ids=QUESTIONS.keys())
LENGTHS = (120, 121, 1000)


def ask(changes, options, length: int = 120, number: int = 10, seed: int = 5) -> tuple[RetrievalConfig, Questions]:
    cfg = RetrievalConfig(**changes)
    return cfg, draw_questions(cfg, length, number, seeded(seed), TEXT, **options)


@questions
@pytest.mark.parametrize("length", LENGTHS)
def test_each_question_has_its_needles_and_its_answers_where_it_says(changes, options, length):
    cfg, found = ask(changes, options, length)
    asked = options.get("asked", 1)
    chains = options.get("num_needles", 1)
    links = cfg.hops + 1 if cfg.task == "tracking" else 1
    assert found.answers.shape == found.evidence.shape == (10, asked)
    for i in range(10):
        tokens = found.planted(i)[0]
        assert len(tokens) == length, "haystack and tail are as long as was asked for"
        assert len(read_needles(cfg, tokens)) == chains * links
        begin = length - found.tails.shape[1]
        asks = positions(tokens, cfg.ask)
        assert asks == [begin + SLOT * n for n in range(asked)]
        for n, place in enumerate(asks):
            evidence, marks = follow(cfg, tokens, tuple(tokens[place + 1 : place + 1 + cfg.key_tokens].tolist()))
            assert evidence == found.evidence[i, n]
            assert tokens[evidence] == found.answers[i, n]
            assert len(marks) == links, "the question is asked at the far end of its chain"
            assert max(marks) + SLOT <= begin
            assert place + cfg.key_tokens == begin + found.answer_at[n]


@questions
def test_the_tail_ends_where_the_last_answer_is_due_and_states_the_ones_before(changes, options):
    cfg, found = ask(changes, options)
    asked = options.get("asked", 1)
    assert found.answer_at.tolist()[-1] == found.tails.shape[1] - 1
    for n in range(asked - 1):
        assert torch.equal(found.tails[:, found.answer_at[n] + 1], found.answers[:, n])
    values = ((found.tails >= cfg.first_value) & (found.tails < cfg.mark)).sum(dim=1)
    assert (values == asked - 1).all(), "the last answer is not given away"


@questions
def test_the_haystack_itself_holds_no_needle_and_planting_leaves_it_alone(changes, options):
    cfg, found = ask(changes, options)
    before = found.haystack.clone()
    assert (found.haystack < cfg.first_key).all()
    planted = found.planted(3)[0, : found.haystack.shape[1]]
    assert torch.equal(found.haystack, before)
    inside = torch.zeros_like(planted, dtype=torch.bool)
    for start in found.starts[3].tolist():
        inside[start : start + SLOT] = True
    assert torch.equal(planted[~inside], before[0][~inside])
    assert inside.sum() == SLOT * found.starts.shape[1], "needles do not overlap"


@questions
def test_the_same_generator_state_asks_the_same_questions(changes, options):
    one, same, other = (ask(changes, options, seed=seed)[1] for seed in (5, 5, 6))
    assert all(torch.equal(x, y) for x, y in zip(one, same, strict=True))
    assert not torch.equal(one.haystack, other.haystack)


def test_needles_are_planted_everywhere():
    starts = draw_questions(RetrievalConfig(), 4002, 4000, seeded()).starts.double() / 4000
    assert float(starts.min()) >= 0
    assert float(starts.max()) <= 1
    assert abs(float(starts.mean()) - 0.5) < 5 / math.sqrt(12 * 4000) + 0.001
    assert float(starts.max() - starts.min()) > 0.95


def test_keys_of_a_question_are_distinct_and_hard_distractors_share_a_token():
    cfg, found = ask({"key_tokens": 2, "shared_keys": True}, {"num_needles": 6}, number=50)
    for i in range(50):
        first, second = found.plants[i, :, 1].tolist(), found.plants[i, :, 2].tolist()
        assert len(set(second)) == 6
        assert all(first.count(part) >= 2 for part in first)
    assert cfg.first_key <= int(found.plants[:, :, 1:3].min())


# ---- harder: distractors in the haystack, and other forms


@pytest.mark.parametrize("changes", [{}, {"key_tokens": 2}, {"haystack": "text"}], ids=["plain", "two-token", "text"])
@pytest.mark.parametrize("number", [1, 20])
def test_distractors_are_needles_of_the_haystack_whose_keys_no_question_asks_for(changes, number):
    cfg, found = ask(changes, {"distractors": number, "num_needles": 2}, 400)
    haystack = found.haystack[0]
    marks = positions(haystack, cfg.mark)
    assert len(marks) == number
    part = cfg.key_tokens  # the token by which keys differ is the last one
    theirs = {int(haystack[mark + part]) for mark in marks}
    asked = set(found.plants[:, :, part].flatten().tolist())
    assert not theirs & asked
    assert len(asked) <= cfg.num_keys // 2
    assert all(cfg.first_value <= int(haystack[mark + part + 1]) < cfg.mark for mark in marks)
    assert len({(mark - int(found.starts[0, 0])) % SLOT for mark in marks}) == 1, "in the slots of the needles"


def test_a_question_with_distractors_is_still_answered_by_its_own_needle():
    cfg, found = ask({}, {"distractors": 60}, 400)
    for i in range(10):
        tokens, key = found.planted(i)[0], int(found.tails[i, 1])
        own = [mark for mark in positions(tokens, cfg.mark) if int(tokens[mark + 1]) == key]
        assert [mark + 2 for mark in own] == found.evidence[i].tolist()
        assert int(tokens[own[0] + 2]) == int(found.answers[i, 0])


def test_the_haystack_may_be_full_of_distractors():
    cfg, found = ask({}, {"distractors": 28}, 120)
    assert len(positions(found.haystack[0], cfg.mark)) == 28


@pytest.mark.parametrize(("form", "key_at", "value_at", "marked"), [("unmarked", 1, 2, 0), ("gapped", 1, 3, 1)])
def test_another_form_moves_key_value_and_mark_and_leaves_the_question_alone(form, key_at, value_at, marked):
    cfg, plain = ask({}, {})
    _, other = ask({}, {"form": form})
    assert torch.equal(plain.tails, other.tails)
    assert torch.equal(plain.haystack, other.haystack)
    assert torch.equal(plain.plants[:, :, 1], other.plants[:, :, key_at])
    assert torch.equal(plain.plants[:, :, 2], other.plants[:, :, value_at])
    assert torch.equal(other.evidence, other.starts + value_at)
    assert torch.equal(other.plants[:, 0, value_at], other.answers[:, 0])
    assert ((other.plants == cfg.mark).sum(dim=2) == marked).all()
    assert ((other.plants < cfg.first_key).sum(dim=2) == 2 - marked).all(), "the rest is noise"


@pytest.mark.parametrize(
    ("changes", "form", "said"),
    [
        ({}, "upside down", "form is 'upside down'; expected trained, unmarked or gapped"),
        ({"key_tokens": 2}, "gapped", "one-token keys; got needle with key_tokens=2"),
        ({"task": "tracking"}, "unmarked", "for single needles"),
    ],
)
def test_a_form_that_cannot_be_written_is_refused(changes, form, said, refused):
    with refused(ValueError, said):
        ask(changes, {"form": form})


TOO_MUCH = {
    "more needles than keys": ({}, {"num_needles": 17}, 1000),
    "more needles than slots": ({}, {"num_needles": 10}, 30),
    "more asked than planted": ({}, {"num_needles": 2, "asked": 3}, 120),
    "none asked": ({}, {"num_needles": 2, "asked": 0}, 120),
    "no room but for the tail": ({}, {}, 4),
    "shorter than the tail": ({"key_tokens": 2}, {"num_needles": 4, "asked": 4}, 10),
    "more distractors than slots": ({}, {"distractors": 30}, 120),
    "fewer distractors than none": ({}, {"distractors": -1}, 120),
    "more needles than the keys that distractors leave": ({}, {"distractors": 1, "num_needles": 9}, 1000),
    "a chain too long": ({"task": "tracking", "hops": 5, "num_pairs": 1}, {}, 20),
}


@pytest.mark.parametrize(("changes", "options", "length"), TOO_MUCH.values(), ids=TOO_MUCH.keys())
def test_questions_that_do_not_fit_are_refused(changes, options, length):
    with pytest.raises(ValueError, match="do not fit"):
        ask(changes, options, length)
