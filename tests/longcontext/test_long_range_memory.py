"""A million tokens are read and asked in the memory of the store and the tokens, and little beside."""

from torch import Generator

from lablib.core.measure import in_fresh_process, peak_memory
from lablib.data.questions import draw_questions
from lablib.longcontext.experiments.reader import DATA
from lablib.longcontext.long_range import answer_all
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.streaming import encode

MILLION = 1 << 20
BESIDE = 150 * 2**20  # bytes: a segment's activations, a batch's scores, the questions


def rise_of_the_peak(length: int) -> int:
    """Bytes by which reading and asking raise the peak memory of a process that holds everything else."""
    model = LanguageModel(ModelConfig(vocab=DATA.vocab), Generator().manual_seed(0)).eval()
    ask(model, 4096)  # what torch takes once for itself
    before = peak_memory()
    ask(model, length)
    return peak_memory() - before


def ask(model: LanguageModel, length: int) -> None:
    questions = draw_questions(DATA, length, 50, Generator().manual_seed(0), strata=10)
    answer_all(model, encode(model, questions.haystack), questions)


def test_the_evaluation_at_a_million_tokens_takes_the_store_the_tokens_and_little_more():
    rise = in_fresh_process(rise_of_the_peak, MILLION)
    store = ModelConfig(vocab=DATA.vocab).store_bytes(MILLION)
    assert rise > 0.9 * store, "the store was not counted"
    assert rise < store + 3 * 8 * MILLION + BESIDE
