"""How far retrieval reaches: questions on inputs up to 16M tokens, and what the scores at 4K foretell of them.

Only one thing about a question grows with the input: the number C of chunks whose scores the needle must beat. Each
noise chunk beats it with a small probability p, so the number that do is close to Poisson with mean C p, and a needle
is missed if at least top_k of them do. A law for the tail of the noise scores gives p; 4K tokens are enough to fit it.

    s      score of a noise chunk for a question              t      score of the question's needle
    p      P(s > t), from the tail                            C      chunks of the input
    miss   P(Poisson(C p) >= top_k), averaged over the needles
"""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor

from lablib.core.refusals import at_least
from lablib.data.questions import Questions, draw_questions, stratum_of
from lablib.data.retrieval import RetrievalConfig
from lablib.longcontext.seesaw import hooked, watch_retrieval
from lablib.nn.hsa import Retriever
from lablib.nn.model import LanguageModel
from lablib.nn.streaming import Stream, encode, planted, read

BATCH = 50  # questions asked in one pass
TAIL = 0.05  # share of the noise scores that the tail is fitted to

Scores = Float[Tensor, "question noise"]


class Answers(NamedTuple):
    """For each question and each needle that it asks for."""

    hit: Bool[Tensor, "question asked"]  # the value has the largest logit
    found: Bool[Tensor, "question asked"]  # its chunk is among the top-k where it is asked for
    visible: Bool[Tensor, "question asked"]  # its chunk is complete there, so that it can be found


@torch.no_grad()
def answer_all(model: LanguageModel, stream: Stream, questions: Questions) -> Answers:
    """Ask every question on a haystack that has been read, many in one pass.

    Chunks are those of the last HSA layer and its first retrieval head. Raises ValueError for a model without HSA, and
    for questions on another haystack.
    """
    _check_reads_chunks(model)
    first, size = int(questions.answer_at[0]), model.cfg.chunk
    kept = questions.answer_at - first  # only the places from the first answer on are computed
    needed = questions.tails.shape[1] - first
    evidence = questions.evidence // size
    hits, found = [], []
    for begin in range(0, len(questions.tails), BATCH):
        some = slice(begin, begin + BATCH)
        asked = planted(model, stream, questions.haystack, questions.starts[some], questions.plants[some])
        with watch_retrieval(model) as seen:
            logits = read(model, asked, questions.tails[some], keep=needed)
        hits.append(logits[:, kept].argmax(dim=-1) == questions.answers[some])
        chunks, scores = (x[:, 0, kept - needed] for x in seen[-1])  # counted from the end: a layer may keep more
        found.append(((chunks == evidence[some, :, None]) & (scores > -math.inf)).any(dim=-1))
    visible = (evidence + 1) * size <= stream.length + questions.answer_at
    return Answers(torch.cat(hits), torch.cat(found), visible)


def by_depth(answers: Answers, strata: int) -> list[dict[str, float]]:
    """A row a stratum of the depth of the first needle: exact answers (every asked one), chunks found and missed."""
    at_least(1, strata=strata)
    if len(answers.hit) < strata:
        raise ValueError(f"{len(answers.hit)} questions came for strata={strata}; expected at least one in each")
    rows, stratum = [], stratum_of(len(answers.hit), strata)
    for part in range(strata):
        mine = Answers(*(x[stratum == part] for x in answers))
        missed, visible = int((mine.visible & ~mine.found).sum()), int(mine.visible.sum())
        found = {"exact": float(mine.hit.all(dim=1).float().mean())}
        found["chunk_recall"] = 1 - missed / visible if visible else math.nan
        counts = {"missed": missed, "visible": visible, "asked": len(mine.hit)}
        rows.append({"depth": (part + 0.5) / strata} | found | counts)
    return rows


def _check_reads_chunks(model: LanguageModel) -> None:
    if model.encoder is None:
        raise ValueError(f"plan {model.cfg.plan!r} reads no chunks, so there is none to find; use a plan with hsa")


# ---- the law


class ScoreSample(NamedTuple):
    """Scores of one needle a question, and of the noise chunks of all haystacks for the same question."""

    needle: Float[Tensor, " question"]
    noise: Scores


@torch.no_grad()
def sample_scores(
    model: LanguageModel, cfg: RetrievalConfig, length: int, haystacks: int, number: int, generator: Generator,
    text: Tensor | None = None,
) -> ScoreSample:  # fmt: skip
    """Scores of `number` questions on each of several haystacks of `length` tokens, in the last HSA layer.

    The chunks of one haystack are noise to the questions of all of them.
    """
    at_least(1, haystacks=haystacks)
    _check_reads_chunks(model)
    needles, queries, landmarks = [], [], []
    retriever = [module for module in model.modules() if isinstance(module, Retriever)][-1]
    for _ in range(haystacks):
        questions: Any = draw_questions(cfg, length, number, generator, text, strata=min(10, number))
        stream = encode(model, questions.haystack)
        asked = planted(model, stream, questions.haystack, questions.starts, questions.plants)
        calls: list[Tensor] = []
        with hooked(model, Retriever, lambda module, call, out, into=calls: into.append(call[0])):
            read(model, asked, questions.tails, keep=1)
        query = retriever.queries(calls[-1])[:, 0, -1]
        # chunks that are still open, and seen by none, have no patch: they make no needle here
        of_needle = asked.patches.chunks == questions.evidence // model.cfg.chunk
        seen = of_needle.any(dim=1)
        own = asked.patches.landmarks[seen, 0, of_needle.int().argmax(dim=1)[seen]]
        needles.append((query[seen] * own).sum(dim=-1))
        queries.append(query[seen])
        landmarks.append(stream.memory.landmarks[0, 0])
    scale = math.sqrt(queries[0].shape[-1])
    return ScoreSample(torch.cat(needles) / scale, torch.cat(queries) @ torch.cat(landmarks).T / scale)


def gaussian_tail(sample: ScoreSample) -> Float[Tensor, " question"]:
    """P(s > t) if the noise scores of each question are normal."""
    noise = sample.noise.double()
    z = (sample.needle.double() - noise.mean(dim=1)) / noise.std(dim=1)
    return 0.5 * torch.erfc(z / math.sqrt(2))


def pareto_tail(sample: ScoreSample, share: float = TAIL) -> Float[Tensor, " question"]:
    """P(s > t) by peaks over a threshold: what exceeds it is generalised Pareto (Pickands 1975).

    Fitted by probability-weighted moments (Hosking and Wallis, Technometrics 29, 1987). The scale is a question's own,
    the shape the mean over questions; a negative one says that scores are bounded, as QK-norm makes them.
    """
    noise, needle = sample.noise.double(), sample.needle.double()
    if noise.shape[1] < 3 or not 0 < share < 1:
        raise ValueError(f"share is {share} of {noise.shape[1]} noise scores; expected a share below 1 of at least 3")
    number = max(2, int(share * noise.shape[1]))
    top = noise.topk(number + 1, dim=1).values
    threshold, excess = top[:, -1], top[:, :-1] - top[:, -1:]
    above = (torch.arange(number) + 0.5) / number  # share of the excesses that are larger, as they are sorted
    first, second = excess.mean(dim=1), (excess * above).mean(dim=1)
    shape = (2 - first / (first - 2 * second)).mean()
    scale = first * (1 - shape)
    z = ((needle - threshold) / scale).clamp(min=0)
    beyond = torch.exp(-z) if abs(shape) < 1e-6 else (1 + shape * z).clamp(min=0) ** (-1 / shape)
    counted = (noise > needle[:, None]).double().mean(dim=1)
    return torch.where(needle > threshold, number / noise.shape[1] * beyond, counted)


def miss_rate(tail: Float[Tensor, " question"], chunks: int, top_k: int) -> float:
    """P(a needle is not among the top-k) in an input of so many noise chunks, from P(s > t) of each needle."""
    at_least(0, chunks=chunks)
    at_least(1, top_k=top_k)
    mean = (chunks * tail.double()).clamp(min=1e-300)
    # P(Poisson(m) >= k) is the regularised lower incomplete gamma function
    return float(torch.special.gammainc(torch.full_like(mean, top_k), mean).mean())
