"""What no draw can give is refused with one sentence; nothing drawn is nothing; no draw goes on for ever."""

import pytest
import torch
from needle_reader import TEXT, seeded

from lablib.data.batch import Batch
from lablib.data.facts import Facts, FactsConfig
from lablib.data.languages import Language, LanguageConfig
from lablib.data.mixture import Mixture, copied_batch, text_batch
from lablib.data.questions import check_questions, draw_questions
from lablib.data.retrieval import RetrievalConfig, draw_keys, noise, training_batch
from lablib.data.text import encode_texts, long_text

NEEDLES, LANGUAGE, OVER_TEXT = RetrievalConfig(), Language(LanguageConfig()), RetrievalConfig(haystack="text")
FIVE = Batch(*(torch.zeros(2, 5, dtype=dtype) for dtype in (torch.long, torch.long, torch.float, torch.long)))


def rows_of(length: int):
    return lambda batch, generator: training_batch(RetrievalConfig(length=length, max_distance=20), batch, generator)


REFUSED = {
    "no value": (lambda: RetrievalConfig(num_values=0), "num_values is 0; expected at least 1"),
    "no noise": (lambda: RetrievalConfig(num_noise=0), "num_noise is 0; expected at least 1"),
    "no pair": (lambda: RetrievalConfig(num_pairs=0), "num_pairs is 0; expected at least 1"),
    "fewer hops than none": (lambda: RetrievalConfig(task="tracking", hops=-1), "hops is -1; expected at least 0"),
    "a copy from the future": (lambda: RetrievalConfig(copy_lag=-24), "copy_lag is -24; expected at least 1"),
    "a copy of itself": (lambda: RetrievalConfig(copy_lag=0), "copy_lag is 0; expected at least 1"),
    "no probability": (lambda: RetrievalConfig(copy_probability=1.5), "copy_probability is 1.5; expected 0 to 1"),
    "distances between slots": (
        lambda: RetrievalConfig(min_distance=5, max_distance=7),
        "distances 5 to 7: expected a multiple of 4 among them",
    ),
    "distances beyond the row": (lambda: RetrievalConfig(min_distance=60, max_distance=64), "among them, at most 56"),
    "a negative batch": (lambda: training_batch(NEEDLES, -1, seeded()), "batch is -1; expected at least 0"),
    "a negative haystack": (lambda: noise(NEEDLES, 1, -4, seeded()), "length is -4; expected at least 0"),
    "a text of other tokens than bytes": (
        lambda: training_batch(OVER_TEXT, 4, seeded(), TEXT + 256),
        "text hold ids from .*; expected 0 to 255",
    ),
    "more keys than there are": (lambda: draw_keys(NEEDLES, 2, 17, seeded()), "17 distinct keys .* there are 16"),
    "no question": (lambda: draw_questions(NEEDLES, 100, 0, seeded()), "number is 0; expected at least 1"),
    "questions that would not fit": (lambda: check_questions(NEEDLES, 100, num_needles=17), "or the 16 keys"),
    "facts without values": (lambda: FactsConfig(num_values=0), "num_values is 0; expected at least 1"),
    "an answer that is climbed": (
        lambda: FactsConfig(answer_weight=-1.0),
        "answer_weight is -1.0; expected at least 0",
    ),
    "facts at no distance": (
        lambda: FactsConfig(nearest=4, farthest=5),
        "nearest=4, farthest=5: expected a multiple of 3 between them",
    ),
    "facts for which no row has room": (
        lambda: Facts(FactsConfig(facts=5, nearest=121, farthest=240))(135, 1, seeded()),
        "5 facts at 121 tokens and more have no room in 135 tokens",
    ),
    "a negative batch of facts": (lambda: Facts(FactsConfig())(60, -1, seeded()), "batch is -1"),
    "an endless prior": (
        lambda: LanguageConfig(concentration=float("inf")),
        "concentration is inf; expected numbers, all finite",
    ),
    "a negative text": (lambda: LANGUAGE(-1, 2, seeded()), "length is -1; expected at least 0"),
    "a draw of no token": (lambda: LANGUAGE.draw(0, 2, seeded()), "length is 0; expected at least 1"),
    "a target that is ignored": (
        lambda: LANGUAGE.bayes(torch.tensor([[0, 1]]), torch.tensor([[1, -100]])),
        "targets hold ids from -100 to 1; expected 0 to 15",
    ),
    "a mixture of no row": (lambda: Mixture([rows_of(64)], [1.0])(0, seeded()), "batch is 0; expected at least 1"),
    "a weight that is no number": (
        lambda: Mixture([rows_of(64)], [float("nan")]),
        "1 sources with weights .nan.; expected one weight >= 0 each, not all 0",
    ),
    "rows of two lengths": (
        lambda: Mixture([rows_of(64), rows_of(32)], [1.0, 1.0])(64, seeded()),
        r"the sources gave rows of \[32, 64\] tokens; expected one length",
    ),
    "a negative row of text": (lambda: text_batch(TEXT, -1, 2, seeded()), "length is -1; expected at least 0"),
    "a negative long text": (lambda: long_text(-5), "length is -5; expected at least 0"),
    "a document of numbers": (lambda: encode_texts(["a", 7]), "document 1 is int 7; expected text"),
    "one text for many": (lambda: encode_texts("abc"), "one text came; expected a list of texts"),
}


@pytest.mark.parametrize(("call", "said"), REFUSED.values(), ids=REFUSED.keys())
def test_what_no_draw_can_give_is_refused(call, said, refused):
    with refused(ValueError, said):
        call()


def test_weights_that_a_hook_has_spoilt_are_refused_at_the_next_batch():
    mixed = Mixture([rows_of(64)], [1.0])
    mixed.weights = [0.0]
    with pytest.raises(ValueError, match=r"1 sources with weights \[0.0\]"):
        mixed(4, seeded())


EMPTY = {
    "needles": lambda: training_batch(NEEDLES, 0, seeded()).tokens.shape == (0, 64),
    "a haystack": lambda: noise(NEEDLES, 3, 0, seeded()).shape == (3, 0),
    "a haystack of text": lambda: noise(OVER_TEXT, 1, 0, seeded(), TEXT).shape == (1, 0),
    "facts": lambda: Facts(FactsConfig())(60, 0, seeded()).targets.shape == (0, 60),
    "texts": lambda: LANGUAGE(5, 0, seeded()).tokens.shape == (0, 5),
    "texts of no token": lambda: LANGUAGE(0, 2, seeded()).targets.shape == (2, 0),
    "the best loss of no token": lambda: LANGUAGE.bayes(*LANGUAGE(0, 2, seeded())[:2]).shape == (2, 0),
    "rows of text": lambda: text_batch(TEXT, 5, 0, seeded()).tokens.shape == (0, 5),
    "a row of no token and its copy": lambda: copied_batch(Batch(*(x[:, :0] for x in FIVE))).tokens.shape == (2, 0),
    "documents": lambda: encode_texts([]).shape == encode_texts([None]).shape == (0,),
}


@pytest.mark.parametrize("holds", EMPTY.values(), ids=EMPTY.keys())
def test_nothing_drawn_is_nothing(holds):
    assert holds()


def test_a_row_without_a_document_is_left_out():
    assert torch.equal(encode_texts([None, "a", None, "", "b"]), encode_texts(["a", "", "b"]))


@pytest.mark.parametrize("number", [1, 2])
def test_what_is_checked_before_a_draw_is_what_can_be_drawn_at_every_offset(number):
    """The room of the check is that of the draw: the shortest haystack that passes is drawn, a shorter one is not."""
    cfg, options = RetrievalConfig(num_keys=20), {"num_needles": 5, "asked": number, "strata": 3}

    def drawn(length: int) -> bool:
        try:
            for seed in range(12):
                draw_questions(cfg, length, 30, seeded(seed), **options)
        except ValueError:
            return False
        return True

    def passes(length: int) -> bool:
        try:
            check_questions(cfg, length, **options)
        except ValueError:
            return False
        return True

    assert [passes(length) for length in range(20, 40)] == [drawn(length) for length in range(20, 40)]
