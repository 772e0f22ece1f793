"""What is measured of a model is what a second, slower look finds."""

import functools
import math

import pytest
import torch
from torch import Generator

from lablib.data.questions import Questions, draw_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.seesaw import (
    answer_questions,
    describe_selection,
    near_share,
    watch_retrieval,
)
from lablib.nn.hsa import Retriever
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.ops.hsa import Selection

DATA = RetrievalConfig(num_noise=4, num_keys=4, num_values=4)
DEEP = "swa swa memory swa+hsa swa swa+hsa"


def make_model(kind: type = LanguageModel, **changes) -> LanguageModel:
    cfg = ModelConfig(**{"vocab": DATA.vocab, "width": 16, "window": 4, "chunk": 8, "top_k": 2, **changes})
    return kind(cfg, Generator().manual_seed(0)).eval()


# ---- watching


def test_every_retrieval_is_seen_in_order_of_depth(generator):
    model, tokens = make_model(plan=DEEP), torch.randint(DATA.vocab, (2, 40), generator=generator)
    one, two = (module for module in model.modules() if isinstance(module, Retriever))
    expected = []
    for retriever in (one, two):
        retriever.register_forward_hook(lambda module, given, found: expected.append((module, found)))
    with torch.no_grad(), watch_retrieval(model) as seen:
        model(tokens)
        model(tokens)
    assert [module for module, _ in expected] == [one, two, one, two]
    assert len(seen) == 4
    assert all(watched is found for watched, (_, found) in zip(seen, expected, strict=True))
    assert seen[0].chunks.shape == (2, 1, 40, 2)


@pytest.mark.parametrize("raises", [False, True], ids=["after the block", "when the block raises"])
def test_nothing_is_watched_afterwards(raises):
    model, tokens = make_model(), torch.zeros(1, 40, dtype=torch.long)
    seen = []
    try:
        with watch_retrieval(model) as seen:
            model(tokens)
            if raises:
                raise ValueError
    except ValueError:
        pass
    model(tokens)
    assert len(seen) == 1


def test_a_model_without_retrieval_shows_none():
    with watch_retrieval(make_model(plan="swa swa")) as seen:
        make_model(plan="swa swa")(torch.zeros(1, 40, dtype=torch.long))
    assert seen == []


# ---- questions


class Oracle(LanguageModel):
    """Looks the key up in the whole input, as no toy model does; `wrong` answers one beside it."""

    wrong = 0

    def forward(self, tokens):
        logits = torch.zeros(*tokens.shape, self.cfg.vocab)
        marks = (tokens[0] == DATA.mark).nonzero()[:, 0]
        (found,) = [mark for mark in marks if tokens[0, mark + 1] == tokens[0, -1]]
        value = int(tokens[0, found + 2]) - DATA.first_value
        logits[0, -1, DATA.first_value + (value + self.wrong) % DATA.num_values] = 1.0
        return logits


class Liar(Oracle):
    wrong = 1


ask = functools.partial(answer_questions, cfg=DATA, number=12)


@pytest.mark.parametrize(("kind", "hit"), [(Oracle, 1.0), (Liar, 0.0)], ids=["right", "wrong"])
@pytest.mark.parametrize("length", [64, 257])
def test_a_model_that_looks_the_answer_up_is_always_right_and_a_liar_never(kind, hit, length, generator):
    results = ask(make_model(kind, plan="full"), length=length, generator=generator)
    assert results["hit"] == [hit] * 12


@pytest.mark.parametrize("plan", ["full full", "swa swa", "swa memory swa+hsa", DEEP])
@pytest.mark.parametrize("length", [64, 133])
def test_answers_and_selections_are_those_of_the_plain_forward_pass(plan, length):
    model = make_model(plan=plan, top_k=3)
    results = ask(model, length=length, generator=Generator().manual_seed(4))
    questions = draw_questions(DATA, length, 12, Generator().manual_seed(4))
    reads = "hsa" in plan
    assert set(results) == {"hit", "distance", "lured"} | (
        {"chunk_recall", "visible", "margin", "near_share"} if reads else set()
    )
    for i in range(12):
        with torch.no_grad(), watch_retrieval(model) as seen:
            logits = model(questions.planted(i))[0, -1]
        assert results["hit"][i] == float(logits.argmax() == questions.answers[i, 0])
        assert results["distance"][i] == length - 1 - int(questions.evidence[i, 0])
        assert results["lured"][i] == 0, "no other value was planted"
        if reads:
            expected = by_hand(seen[-1], int(questions.evidence[i, 0]), length - 1, model)
            found = {name: results[name][i] for name in expected}
            assert found == pytest.approx(expected, abs=1e-4, nan_ok=True)


def by_hand(
    selection: Selection, evidence: int, position: int, model: LanguageModel, place: int = -1
) -> dict[str, float]:
    """What one selection says at a place (-1: the last), from the definition of each measure."""
    size = model.cfg.chunk
    pairs = zip(selection.chunks[0, 0, place].tolist(), selection.scores[0, 0, place].tolist(), strict=True)
    scores = {chunk: score for chunk, score in pairs if score > -math.inf}
    needle = evidence // size
    others = [score for chunk, score in scores.items() if chunk != needle]
    total = sum(math.exp(score) for score in scores.values())
    near = [c for c in scores if any(position - t <= model.reach for t in range(c * size, (c + 1) * size))]
    return {
        "chunk_recall": float(needle in scores),
        "visible": float((needle + 1) * size <= position),
        "margin": scores[needle] - max(others) if needle in scores and others else math.nan,
        "near_share": sum(math.exp(scores[c]) for c in near) / total if scores else math.nan,
    }


def test_a_model_that_reads_another_value_is_lured():
    class Reader(LanguageModel):
        """Answers with the last planted value, whatever was asked."""

        def forward(self, tokens):
            logits = torch.zeros(*tokens.shape, self.cfg.vocab)
            values = tokens[0][(tokens[0] >= DATA.first_value) & (tokens[0] < DATA.mark)]
            logits[0, -1, values[-1]] = 1
            return logits

    model = make_model(Reader, plan="full full")
    results = answer_questions(model, DATA, 120, 60, Generator().manual_seed(4), num_needles=3)
    questions = draw_questions(DATA, 120, 60, Generator().manual_seed(4), num_needles=3)
    last = questions.plants[torch.arange(60), questions.starts.argmax(dim=1), 2]
    right = (last == questions.answers[:, 0]).tolist()
    assert results["hit"] == [float(hit) for hit in right]
    assert results["lured"] == [float(not hit) for hit in right]
    assert 0 < sum(right) < 60


def test_many_questions_on_one_haystack_leave_it_as_it_was():
    model = make_model()
    together = ask(model, length=133, generator=Generator().manual_seed(4))
    again = ask(model, length=133, generator=Generator().manual_seed(4))
    assert all(together[name] == pytest.approx(again[name], nan_ok=True) for name in together)


# ---- one selection

SIZE, LAST = 8, 79  # the model's chunk, and the position of the last token: chunks 0 to 8 are complete, 9 is not


def question(evidence: int) -> Questions:
    nothing = torch.zeros(1, 1, dtype=torch.long)
    return Questions(
        nothing, nothing, nothing[:, :, None], nothing, nothing, nothing[0], torch.full_like(nothing, evidence)
    )


def describe(chunks: list[int], scores: list[float], evidence: int, position: int = LAST) -> dict[str, float]:
    selection = Selection(torch.tensor(chunks)[None, None, None], torch.tensor(scores)[None, None, None])
    return describe_selection(selection, question(evidence), 0, position, make_model())


def test_a_chosen_needle_is_recalled_with_its_margin_over_the_best_other():
    found = describe([1, 4, 6], [0.5, 3.0, 1.0], evidence=4 * SIZE + 3)
    assert found["chunk_recall"] == found["visible"] == 1.0
    assert found["margin"] == pytest.approx(2.0)
    behind = describe([1, 4, 6], [0.5, 3.0, 1.0], evidence=SIZE)
    assert (behind["chunk_recall"], behind["margin"]) == (1.0, pytest.approx(-2.5))


def test_a_missed_needle_has_no_margin():
    found = describe([1, 4, 6], [0.5, 3.0, 1.0], evidence=2 * SIZE)
    assert (found["chunk_recall"], found["visible"]) == (0.0, 1.0)
    assert math.isnan(found["margin"])


def test_a_slot_that_found_no_chunk_is_not_a_recall():
    found = describe([2, 4], [-math.inf, 1.0], evidence=2 * SIZE)
    assert found["chunk_recall"] == 0.0
    alone = describe([2, 4], [-math.inf, 1.0], evidence=4 * SIZE)
    assert alone["chunk_recall"] == 1.0
    assert math.isnan(alone["margin"]), "there is no other chunk to be better than"
    assert math.isnan(describe([4], [1.0], evidence=4 * SIZE)["margin"])


@pytest.mark.parametrize(
    ("evidence", "position", "visible"),
    [(71, 79, 1.0), (72, 79, 0.0), (79, 79, 0.0), (0, 79, 1.0), (72, 80, 1.0), (79, 80, 1.0), (80, 80, 0.0)],
)
def test_a_needle_in_the_open_chunk_is_not_visible(evidence, position, visible):
    assert describe([1, 4], [0.0, 0.0], evidence, position)["visible"] == visible


@pytest.mark.parametrize(
    ("window", "near"),
    # two layers reach 2 (window - 1) back from position 79; chunk 8 ends at 71, chunk 7 at 63
    [(4, set()), (5, {8}), (8, {8}), (9, {8, 7}), (12, {8, 7}), (13, {8, 7, 6}), (64, {8, 7, 6, 0})],
)
def test_a_chunk_is_near_when_one_of_its_tokens_is_within_the_stacked_reach(window, near):
    chunks = torch.tensor([0, 6, 7, 8])
    share = near_share(chunks, torch.zeros(4), LAST, make_model(window=window))
    assert share == pytest.approx(len(near) / 4)


def test_the_near_share_is_a_share_of_the_weight():
    scores = torch.log(torch.tensor([1.0, 3.0]))
    model = make_model(window=8)
    assert near_share(torch.tensor([0, 8]), scores, LAST, model) == pytest.approx(0.75)
    breaking = make_model(window=8, fusion="stick-breaking")
    # newest first: 3/4 of the stick, then half of the rest
    assert near_share(torch.tensor([0, 8]), scores, LAST, breaking) == pytest.approx(0.75 / (0.75 + 0.125))
    hidden = torch.tensor([-math.inf, 0.0])
    assert near_share(torch.tensor([8, 0]), hidden, LAST, model) == 0.0


def test_where_scores_do_not_weigh_there_is_no_near_share():
    chunks, scores = torch.tensor([0, 8]), torch.zeros(2)
    assert math.isnan(near_share(chunks, scores, LAST, make_model(fusion="concat")))
    assert math.isnan(near_share(chunks, scores - math.inf, LAST, make_model()))
