"""Which circuit answers: a trained model with its retrieval, or its windows, taken away at test time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Generator, nn

from lablib.core.refusals import at_least
from lablib.data.questions import draw_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.seesaw import ask, hooked
from lablib.nn.hsa import SparseAttention
from lablib.nn.model import LanguageModel
from lablib.train.hooks import Hook


@contextmanager
def without_retrieval(model: nn.Module) -> Iterator[None]:
    """Inside the block every HSA layer reads zeros."""
    with hooked(model, SparseAttention, lambda module, given, out: (torch.zeros_like(out[0]), None)):
        yield


@contextmanager
def reading(model: nn.Module, window: int, top_k: int) -> Iterator[None]:
    """Inside the block a token reads a window of so many tokens and so many chunks."""
    before = model.window, model.top_k
    try:
        model.set_reading(window, top_k)
        yield
    finally:
        model.set_reading(*before)


def windows_cut(model: nn.Module, window: int) -> AbstractContextManager[None]:
    """Inside the block no sliding window is wider than `window` tokens."""
    return reading(model, min(model.window, window), model.top_k)


def each_alone(model: nn.Module, answer: Callable[[], float]) -> dict[str, float]:
    """What a circuit answers alone: `window_alone` without retrieval, `hsa_alone` with windows cut to one chunk."""
    with without_retrieval(model):
        found = {"window_alone": answer()}
    with windows_cut(model, model.cfg.chunk):
        return found | {"hsa_alone": answer()}


class Circuits(Hook):
    """Adds to some training rows who answers, the share of new questions answered rightly by

    whole             the model as it is, at the training length, and `far` at the length `far` (tokens)
    window_alone      one circuit at the training length, and `hsa_alone` the other (see `each_alone`)

    `every` so many steps; the same questions each time. Training is not touched: they have a generator of their own.
    """

    def __init__(self, data: RetrievalConfig, far: int, every: int, seed: int, haystacks: int = 4, questions: int = 25):
        at_least(1, every=every, haystacks=haystacks, questions=questions)
        self.data, self.far, self.every, self.seed = data, far, every, seed
        self.haystacks, self.questions = haystacks, questions

    def at_eval(self, step: int, model: LanguageModel, row: dict[str, Any]) -> None:
        if (step + 1) % self.every:
            return
        far = ask(model, self.data, self.far, self.haystacks, self.questions, Generator().manual_seed(self.seed))
        row["whole"], row["far"] = self.near_share(model), sum(far["hit"].tolist()) / len(far["hit"])
        row |= each_alone(model, lambda: self.near_share(model))

    @torch.no_grad()
    def near_share(self, model: LanguageModel) -> float:
        """Exact recall at the training length, as the model now is: all questions in one batch."""
        generator, hits = Generator().manual_seed(self.seed), []
        for _ in range(self.haystacks):
            asked = draw_questions(self.data, self.data.length, self.questions, generator)
            inputs = torch.cat([asked.planted(i) for i in range(self.questions)])
            hits += (model(inputs)[:, -1].argmax(-1) == asked.answers[:, -1]).tolist()
        return sum(hits) / len(hits)
