"""Many questions that each change one long input: asked at once, alone, or read whole, they are answered alike."""

import pytest
import torch
from allocations import Allocations
from test_streaming import DEEP, EDITS, OPTIONS, draw_tokens, make_model, with_edits

from lablib.nn.streaming import edited, encode, planted, read

LENGTH = 101
# two plants a question; the store of 101 tokens ends at 96
PAIRS = {
    "far apart": [10, 75],
    "in one chunk": [16, 20],
    "reaching one chunk": [13, 26],
    "neighbours over a border": [20, 24],
    "out of order": [75, 10],
    "at the beginning": [0, 4],
    "in the open chunk": [97, 3],
    "over the end of the store": [93, 50],
    "the last complete chunk": [88, 92],
}
PLANS = ["swa swa", "memory hsa", "swa memory swa+hsa", DEEP]


def answer_whole(model, tokens, starts, plants, tails):
    """The definition: every question's whole input through the plain forward pass."""
    inputs = torch.cat([with_edits(tokens, at, edits) for at, edits in zip(starts, plants, strict=True)])
    with torch.no_grad():
        return model(torch.cat([inputs, tails], dim=1))[:, -tails.shape[1] :]


def answer_at_once(model, tokens, starts, plants, tails, keep=None):
    stream = encode(model, tokens, segment=32)
    return read(model, planted(model, stream, tokens, starts, plants), tails, keep)


def draw_questions(generator, starts, span=4, tail=3):
    starts = torch.tensor(starts)
    tokens = draw_tokens(generator, 1, LENGTH)
    return tokens, starts, draw_tokens(generator, *starts.shape, span), draw_tokens(generator, len(starts), tail)


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("tail", [1, 3, 6, 20], ids=lambda n: f"tail of {n}")
def test_all_at_once_is_each_question_read_whole(plan, tail, generator):
    model, case = make_model(plan), draw_questions(generator, list(PAIRS.values()), tail=tail)
    torch.testing.assert_close(answer_at_once(model, *case), answer_whole(model, *case), atol=1e-5, rtol=0)


def test_one_plant_may_stand_anywhere(generator):
    model, case = make_model(DEEP), draw_questions(generator, [[start] for start in range(LENGTH - 3)])
    torch.testing.assert_close(answer_at_once(model, *case), answer_whole(model, *case), atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [1, 3, 8, 9, 17])
@pytest.mark.parametrize("chunk", [1, 5, 8, 16])
def test_it_holds_whatever_the_window_and_the_chunk(window, chunk, generator):
    model = make_model(DEEP, window=window, chunk=chunk)
    case = draw_questions(generator, list(PAIRS.values()))
    torch.testing.assert_close(answer_at_once(model, *case), answer_whole(model, *case), atol=1e-5, rtol=0)


@pytest.mark.parametrize("changes", OPTIONS.values(), ids=OPTIONS.keys())
def test_it_holds_for_every_option(changes, generator):
    model, case = make_model(DEEP, **changes), draw_questions(generator, list(PAIRS.values()), tail=11)
    torch.testing.assert_close(answer_at_once(model, *case), answer_whole(model, *case), atol=1e-5, rtol=0)


@pytest.mark.parametrize("length", [4, 7, 8, 9, 15, 16, 17])
@pytest.mark.parametrize("tail", [3, 12])
def test_it_holds_for_inputs_of_a_chunk_or_two(length, tail, generator):
    model, tokens = make_model(DEEP), draw_tokens(generator, 1, length)
    starts, plants = torch.tensor([[0], [length - 4]]), draw_tokens(generator, 2, 1, 4)
    case = tokens, starts, plants, draw_tokens(generator, 2, tail)
    torch.testing.assert_close(answer_at_once(model, *case), answer_whole(model, *case), atol=1e-5, rtol=0)


@pytest.mark.parametrize("starts", EDITS.values(), ids=EDITS.keys())
def test_laying_patches_beside_the_store_is_writing_them_into_it(starts, generator):
    model, (tokens, starts, plants, tails) = (
        make_model(DEEP),
        draw_questions(generator, [torch.tensor(starts)[:, 0].tolist()]),
    )
    stream = encode(model, tokens)
    with edited(model, stream, tokens, starts[0], plants[0]) as now:
        expected = read(model, now, tails)
    torch.testing.assert_close(
        read(model, planted(model, stream, tokens, starts, plants), tails), expected, atol=1e-5, rtol=0
    )


def test_the_last_logits_alone_are_the_last_of_all(generator):
    model, case = make_model(DEEP), draw_questions(generator, list(PAIRS.values()), tail=9)
    whole = answer_at_once(model, *case)
    for keep in (1, 4):
        torch.testing.assert_close(answer_at_once(model, *case, keep=keep), whole[:, -keep:], atol=1e-5, rtol=0)


def test_planting_leaves_the_stream_and_the_tokens_as_they_were(generator):
    model, (tokens, starts, plants, tails) = make_model(DEEP), draw_questions(generator, list(PAIRS.values()))
    stream = encode(model, tokens)
    before = [x.clone() for x in (*stream.memory, stream.recent, tokens, starts, plants)]
    read(model, planted(model, stream, tokens, starts, plants), tails)
    assert stream.patches is None
    after = (*stream.memory, stream.recent, tokens, starts, plants)
    assert all(torch.equal(x, y) for x, y in zip(after, before, strict=True))


def test_a_question_costs_its_patches_and_no_copy_of_the_store(generator):
    model, extra = make_model(DEEP), {}
    for length in (2048, 16_384):
        tokens = draw_tokens(generator, 1, length)
        stream = encode(model, tokens)
        starts = torch.randint(length - 4, (3, 2), generator=generator)
        with Allocations(tokens, *stream.memory, *model.parameters()) as seen:
            planted(model, stream, tokens, starts, draw_tokens(generator, 3, 2, 4))
        extra[length] = seen.peak
    assert extra[16_384] < 1.05 * extra[2048]


def test_tokens_may_be_of_any_whole_number_type(generator):
    model, (tokens, starts, plants, tails) = make_model(DEEP), draw_questions(generator, list(PAIRS.values()))
    expected = answer_at_once(model, tokens, starts, plants, tails)
    for kind in (torch.int16, torch.int32):
        assert torch.equal(answer_at_once(model, tokens.to(kind), starts, plants, tails), expected)
