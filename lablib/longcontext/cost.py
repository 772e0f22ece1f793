"""What it costs to read a long input: full attention, a sliding window, and a whole HSA model, on this machine."""

from typing import Literal

import torch
from torch import Generator

from lablib.core.measure import peak_memory, timed
from lablib.core.refusals import at_least
from lablib.data.questions import draw_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.nn.model import LanguageModel
from lablib.nn.plan import ModelConfig
from lablib.nn.streaming import edited, encode, read
from lablib.ops.attention import full_attention, sliding_window_attention

Work = Literal["full attention", "sliding window", "whole model, one question"]


def measure_cost(work: Work, length: int, window: int, seed: int) -> dict[str, float]:
    """CPU seconds of one forward pass over `length` tokens, and the memory it took.

    Attention has 4 heads of 64 dimensions; the model is the seesaw's, untrained (its cost is the same).
    `extra_megabytes` is the rise of the process' peak memory over what it held before the work.
    """
    at_least(1, length=length, window=window)
    torch.set_num_threads(1)
    generator = Generator().manual_seed(seed)
    if work == "whole model, one question":
        call = _ask_once(length, generator)
    else:
        q, k, v = (torch.randn(1, 4, length, 64, generator=generator) for _ in range(3))
        call = {
            "full attention": lambda: full_attention(q, k, v),
            "sliding window": lambda: sliding_window_attention(q, k, v, window),
        }[work]
    before = peak_memory()
    with torch.no_grad():
        _, spent = timed(call)
    return {
        "work_seconds": spent,
        "extra_megabytes": (peak_memory() - before) / 2**20,
        "peak_megabytes": peak_memory() / 2**20,
    }


def _ask_once(length: int, generator: Generator):
    data = RetrievalConfig()
    model = LanguageModel(ModelConfig(vocab=data.vocab), generator).eval()

    def call() -> None:
        questions = draw_questions(data, length, 1, generator)
        stream = encode(model, questions.haystack)
        with edited(model, stream, questions.haystack, questions.starts[0], questions.plants[0]) as now:
            read(model, now, questions.tails, keep=1)

    return call
