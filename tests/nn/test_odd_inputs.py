"""No row, no token, one token, a chunk longer than the text: the plain result or none; what is no input is refused."""

import pytest
import torch
from test_streaming import DEEP, draw_tokens, make_model

from lablib.nn.context import Context
from lablib.nn.model import LanguageModel
from lablib.nn.plan import MIXERS, HeadShape, ModelConfig
from lablib.nn.recurrent import GatedDeltaNet, KeyValueBinding, Mamba2
from lablib.nn.storage import check_room, empty_store
from lablib.nn.streaming import edited, encode, planted, read

PLANS = [*(word for word in MIXERS if word != "hsa"), "mlp", "swa+prime", "memory hsa", "swa memory swa+hsa swa"]


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("shape", [(0, 30), (2, 0), (0, 0), (2, 1)], ids=str)
@pytest.mark.parametrize("sizes", [{"window": 2, "chunk": 4, "top_k": 1}, {"window": 99, "chunk": 99, "top_k": 99}])
def test_a_text_may_be_empty_or_shorter_than_everything(plan, shape, sizes, generator):
    model, tokens = make_model(plan, **sizes), draw_tokens(generator, *shape)
    logits, state = model.read(tokens)
    again, _ = model.read(tokens, state)
    assert logits.shape == again.shape == (*shape, 20)
    assert model(tokens).isfinite().all()


@pytest.mark.parametrize("plan", PLANS)
def test_reading_nothing_in_between_changes_nothing(plan, generator):
    model, tokens = make_model(plan), draw_tokens(generator, 2, 21)
    with torch.no_grad():
        _, state = model.read(tokens[:, :0])
        first, state = model.read(tokens[:, :13], state)
        _, state = model.read(tokens[:, :0], state)
        rest, _ = model.read(tokens[:, 13:], state)
        torch.testing.assert_close(torch.cat([first, rest], 1), model(tokens), atol=1e-5, rtol=0)


RECURRENT = [Mamba2(8, HeadShape(2, 8), 4, 4), GatedDeltaNet(8, 2, 4), KeyValueBinding(8, 2, 4, 0.1, 1.0, False)]


@pytest.mark.parametrize("mixer", RECURRENT, ids=lambda mixer: type(mixer).__name__)
def test_a_recurrent_layer_over_no_token_gives_none(mixer):
    out, state = mixer(torch.zeros(2, 0, 8))
    assert out.shape == (2, 0, 8)
    assert mixer(torch.ones(2, 1, 8), state)[0].shape == (2, 1, 8)


# ---- streams

TEXT, TAILS = torch.arange(101)[None] * 7 % 20, torch.arange(10).view(2, 5)
MODEL = make_model(DEEP)
STREAM = encode(MODEL, TEXT)
ONE, PLANT = torch.tensor([[3], [50]]), torch.ones(2, 1, 4, dtype=torch.long)


@pytest.mark.parametrize("plan", ["swa swa", "memory hsa", DEEP])
def test_no_tail_no_question_and_no_position_have_no_logits(plan):
    model = make_model(plan)
    stream = encode(model, TEXT)
    assert read(model, stream, TAILS[:, :0]).shape == (2, 0, 20)
    assert read(model, stream, TAILS[:0]).shape == (0, 5, 20)
    assert read(model, stream, TAILS, keep=0).shape == (2, 0, 20)
    assert read(model, planted(model, stream, TEXT, ONE, PLANT), TAILS, keep=0).shape == (2, 0, 20)
    assert torch.equal(read(model, stream, TAILS, keep=5), read(model, stream, TAILS))


@pytest.mark.parametrize("plan", ["swa swa", "memory hsa", DEEP])
@pytest.mark.parametrize("shape", [(2, 0, 4), (2, 1, 0)], ids=["no plant", "plants of no token"])
def test_planting_nothing_leaves_the_text_as_it_is(plan, shape):
    model = make_model(plan)
    stream = encode(model, TEXT)
    now = planted(model, stream, TEXT, torch.zeros(shape[:2], dtype=torch.long), torch.zeros(shape, dtype=torch.long))
    torch.testing.assert_close(read(model, now, TAILS), read(model, stream, TAILS), atol=1e-6, rtol=0)
    with edited(model, stream, TEXT, torch.zeros(0, dtype=torch.long), PLANT[0, :0]) as now:
        assert torch.equal(read(model, now, TAILS), read(model, stream, TAILS))


def edit(starts: list[int], plants: torch.Tensor = PLANT[0], stream=STREAM, text: torch.Tensor = TEXT) -> None:
    with edited(MODEL, stream, text, torch.tensor(starts), plants):
        pass


def read_after(window: int) -> None:
    model = make_model(DEEP)
    stream = encode(model, TEXT)
    model.set_reading(window, 2)
    read(model, stream, TAILS)


REFUSED = {
    "more logits than tail": (lambda: read(MODEL, STREAM, TAILS, keep=6), "keep is 6; expected 0 to 5, the tokens of"),
    "fewer logits than none": (lambda: read(MODEL, STREAM, TAILS, keep=-1), "keep is -1; expected 0 to 5"),
    "logits of no tail": (lambda: read(MODEL, STREAM, TAILS[:, :0], keep=1), "keep is 1; expected 0 to 0"),
    "fewer tails than planted questions": (
        lambda: read(MODEL, planted(MODEL, STREAM, TEXT, ONE, PLANT), TAILS[:1]),
        "1 tails came for a stream with 2 planted questions; expected one for each",
    ),
    "more tails than planted questions": (
        lambda: read(MODEL, planted(MODEL, STREAM, TEXT, ONE[:1], PLANT[:1]), TAILS),
        "2 tails came for a stream with 1 planted questions",
    ),
    "a tail of other tokens": (
        lambda: read(MODEL, STREAM, TAILS + 11),
        "tokens hold ids from .* to 20",
    ),
    "a wider window than the stream's": (lambda: read_after(9), "read with window 5, the model has 9: encode again"),
    "a narrower window": (lambda: read_after(3), "read with window 5, the model has 3: encode again"),
    "no segment": (lambda: encode(MODEL, TEXT, segment=0), "segment is 0; expected at least 1"),
    "a negative segment": (lambda: encode(MODEL, TEXT, segment=-8), "segment is -8; expected at least 1"),
    "tokens out of the vocabulary": (lambda: encode(MODEL, TEXT + 1), "tokens hold ids from 1 to 20; expected 0 to 19"),
    "tokens out of the vocabulary in the open chunk": (
        lambda: encode(MODEL, torch.cat([TEXT, torch.tensor([[20]])], 1)),
        "tokens hold ids from 0 to 20",
    ),
    "tokens that are no whole numbers": (lambda: encode(MODEL, TEXT * 1.5), "tokens are torch.float32; expected whole"),
    "an edit before the text": (lambda: edit([-1]), "plants of 4 tokens start at -1 to -1; expected 0 to 97"),
    "an edit over the end": (lambda: edit([98]), "start at 98 to 98; expected 0 to 97, inside of the 101 tokens"),
    "an edit beyond the end": (lambda: edit([500]), "start at 500 to 500"),
    "edits without starts": (
        lambda: edit([3], PLANT[:, 0]),
        r"starts \(1,\) for plants \(2, 4\); expected one",
    ),
    "an edit of other tokens": (lambda: edit([3], PLANT[0] * 20), "plants hold ids from 20 to 20; expected 0 to 19"),
    "a plant over the end": (lambda: planted(MODEL, STREAM, TEXT, ONE + 60, PLANT), "start at 63 to 110"),
    "a plant longer than the text": (
        lambda: planted(MODEL, STREAM, TEXT, ONE, torch.ones(2, 1, 102, dtype=torch.long)),
        "plants of 102 tokens",
    ),
    "plants on plants": (
        lambda: planted(MODEL, planted(MODEL, STREAM, TEXT, ONE, PLANT), TEXT, ONE, PLANT),
        "the stream holds plants of other questions; plant into the stream that `encode` gave",
    ),
    "edits on plants": (
        lambda: edit([3], stream=planted(MODEL, STREAM, TEXT, ONE[:1], PLANT[:1])),
        "the stream holds plants of other questions",
    ),
    "tokens of another length": (lambda: edit([3], text=TEXT[:, 1:]), "are not the 101 that the stream was read from"),
    "other tokens": (lambda: edit([3], text=(TEXT + 1) % 20), "are not the 101 that the stream was read from"),
}


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_a_stream_cannot_read_is_refused(call, said, refused):
    with refused(ValueError, said):
        call()


def test_a_refused_edit_leaves_the_store_as_it_was():
    before = [part.clone() for part in STREAM.memory]
    with pytest.raises(ValueError, match="start at 3 to 98"):
        edit([3, 98], PLANT[:, 0])
    assert all(torch.equal(x, y) for x, y in zip(STREAM.memory, before, strict=True))


# ---- models

PLAIN = make_model("swa")
HYBRID = ModelConfig(plan="mamba2 swa")
ELSEWHERE = {
    "ids beyond the vocabulary": (lambda: PLAIN(TEXT + 1), "tokens hold ids from 1 to 20; expected 0 to 19"),
    "ids below the vocabulary": (lambda: PLAIN(TEXT - 1), "tokens hold ids from -1 to 18"),
    "tokens that are no whole numbers": (lambda: PLAIN(TEXT * 1.0), r"tokens are torch.float32 of shape \(1, 101\)"),
    "tokens without a batch": (lambda: PLAIN(TEXT[0]), r"of shape \(101,\); expected int64, \(batch, time\)"),
    "no window": (lambda: make_model("swa").set_reading(0, 2), "window is 0; expected at least 1"),
    "no chunk read": (lambda: make_model("swa").set_reading(4, 0), "top_k is 0; expected at least 1"),
    "no position kept": (lambda: PLAIN.blocks[0](torch.zeros(1, 3, 16), None, PLAIN.context(), keep=0), "keep is 0"),
    "the context of no position": (lambda: Context(4, 2, torch.arange(3)).last(0), "number is 0; expected at least 1"),
    "a width in other digits": (lambda: ModelConfig(plan="swa+mlp:²"), "is no layer"),
    "the state of a recurrence by length": (lambda: HYBRID.state_bytes(9), "plan 'mamba2 swa' has a recurrence"),
    "a negative length": (lambda: HYBRID.replace(plan="swa").state_bytes(-1), "length is -1; expected at least 0"),
    "room for a negative length": (lambda: check_room(HYBRID, -1), "length is -1; expected at least 0"),
    "a store of fewer chunks than none": (lambda: empty_store(HYBRID, -1), "num_chunks is -1; expected at least 0"),
}


@pytest.mark.parametrize(("call", "said"), ELSEWHERE.values(), ids=ELSEWHERE.keys())
def test_what_a_model_cannot_read_is_refused(call, said, refused):
    with refused(ValueError, said):
        call()


def test_an_unknown_token_is_refused_wherever_the_model_reads():
    model = LanguageModel(ModelConfig(plan="swa memory hsa", vocab=20))
    for reads in (model, model.read, model.run, model.run_lower, model.embed):
        with pytest.raises(ValueError, match="tokens hold ids from 1 to 20"):
            reads(TEXT + 1)
