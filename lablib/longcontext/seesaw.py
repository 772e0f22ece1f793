"""The seesaw effect (arXiv 2511.23319, section 4): what a window of the sliding attention does to learning retrieval.

A model is trained on needles in short rows and asked for needles in inputs a thousand times as long. This file holds
what is measured: during training the gradient that reaches the retrieval projections, after it the answers, the
chunks chosen, and the margin by which they were chosen.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from lablib.core.refusals import at_least
from lablib.data.batch import Batch
from lablib.data.questions import Questions, draw_questions
from lablib.data.retrieval import RetrievalConfig
from lablib.nn.hsa import Retriever
from lablib.nn.model import LanguageModel
from lablib.nn.streaming import edited, encode, read
from lablib.nn.surgery import plain_module
from lablib.ops.hsa import Selection, fusion_weights
from lablib.ops.precision import wide
from lablib.train.evaluate import mean_where
from lablib.train.hooks import Hook

WORST = {"distance": np.max, "lured": np.max, "near_share": np.mean}  # of several asked for; else the lowest


@contextmanager
def watch_retrieval(model: nn.Module) -> Iterator[list[Selection]]:
    """A list that receives the selection of every retrieval inside the block, in order of depth."""
    seen: list[Selection] = []
    with hooked(model, Retriever, lambda *call: seen.append(call[-1])):
        yield seen


@contextmanager
def hooked(model: nn.Module, kind: type[nn.Module], hook: Callable[..., Any]) -> Iterator[None]:
    """Inside the block every module of a kind calls `hook(module, given, out)` after its forward pass."""
    with ExitStack() as hooks:
        for module in [module for module in model.modules() if isinstance(module, kind)]:
            hooks.enter_context(module.register_forward_hook(hook))
        yield


class RetrievalProbe(Hook):
    """Adds to a training row: accuracy inside and outside the stacked reach, and the gradient into retrieval.

    Norms of the loss gradient before clipping: `retrieval_grad` on the retrieval queries and landmarks, `hsa_grad` on
    the whole HSA path (these, the chunk encoder and the read), `other_grad` on the rest. NaN without HSA.
    """

    def after_backward(self, step: int, model: nn.Module, batch: Batch, logits: Any, row: dict) -> None:
        asked = batch.evidence >= 0
        distance = torch.arange(asked.shape[1]) - batch.evidence
        hit = (logits.argmax(-1) == batch.targets).float()
        inside = asked & (distance <= model.reach)
        for name, where in {"": asked, "_inside": inside, "_outside": asked & ~inside}.items():
            row[f"accuracy{name}"] = mean_where(hit, where)
        row["retrieval_grad"] = gradient_norm(model.retrieval_parameters())
        row["hsa_grad"], row["other_grad"] = path_gradients(model)


def path_gradients(model: nn.Module) -> tuple[float, float]:
    """Norms of the gradient on the whole HSA path (NaN without HSA) and on the rest."""
    path = list(model.hsa_parameters().values())
    inside = {id(parameter) for parameter in path}
    return gradient_norm(path), gradient_norm([p for p in model.parameters() if id(p) not in inside])


def gradient_norm(parameters: list[nn.Parameter]) -> float:
    """Euclidean norm of the gradients together; NaN without parameters."""
    if not parameters:
        return math.nan
    return math.sqrt(sum(float(wide(p.grad).square().sum()) for p in parameters if p.grad is not None))


@torch.no_grad()
def answer_questions(
    model: nn.Module, cfg: RetrievalConfig, length: int, number: int, generator: Generator,
    text: Tensor | None = None, **harder: Any,
) -> dict[str, list[float]]:  # fmt: skip
    """Ask `number` questions on one haystack of `length` tokens; a value a question for each measure.

    `harder` goes to `draw_questions`: more needles, distractors, another form. Of several asked-for values the worst
    counts, and the mean near share.

    hit           1 if every asked-for value has the largest logit        chunk_recall   its chunk is among the top-k
    distance      tokens from the value to the place of the answer        margin         its score less the best other
    near_share    share of the fusion weights on chunks inside the reach of the stacked sliding windows
    lured         1 if the largest logit is another value that the question planted
    """
    questions, model = draw_questions(cfg, length, number, generator, text, **harder), plain_module(model)
    rows, streamed = [], "full" not in model.cfg.plan
    places = questions.answer_at - questions.tails.shape[1]  # where answers are due, counted from the end: -1 the last
    end = questions.haystack.shape[1] + questions.tails.shape[1]
    stream = encode(model, questions.haystack) if streamed else None
    for i in range(number):
        with watch_retrieval(model) as seen:
            if streamed:
                with edited(model, stream, questions.haystack, questions.starts[i], questions.plants[i]) as now:
                    logits = read(model, now, questions.tails[i : i + 1], keep=-int(places[0]))[0]
            else:
                logits = model(questions.planted(i))[0]
        plants, asked = questions.plants[i], []
        values = plants[(plants >= cfg.first_value) & (plants < cfg.mark)]
        for n, place in enumerate(places.tolist()):
            best, right = logits[place].argmax(), questions.answers[i, n]
            row = {"hit": float(best == right), "distance": float(end + place - questions.evidence[i, n])}
            row["lured"] = float(best != right and best in values)
            asked.append(row | (describe_selection(seen[-1], questions, i, end + place, model, n) if seen else {}))
        rows.append({name: float(WORST.get(name, np.min)([row[name] for row in asked])) for name in asked[0]})
    return {name: [row[name] for row in rows] for name in rows[0]}


def ask(
    model: nn.Module, cfg: RetrievalConfig, length: int, haystacks: int, *given: Any, **harder: Any
) -> dict[str, np.ndarray]:
    """`answer_questions` on several haystacks: a value a question for each measure."""
    at_least(1, haystacks=haystacks)
    parts = [answer_questions(model, cfg, length, *given, **harder) for _ in range(haystacks)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def exact_and_chunks(answers: dict[str, np.ndarray]) -> dict[str, float]:
    """Exact recall of what `ask` returned, and how often a chunk that can be chosen is (NaN where none can)."""
    chosen = answers["chunk_recall"][answers["visible"] > 0] if "visible" in answers else np.array([math.nan])
    return {"exact": mean_of(answers["hit"]), "chunk_recall": mean_of(chosen)}


def mean_of(values: np.ndarray) -> float:
    """The mean of the values that are known; NaN where none is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else math.nan


def describe_selection(
    selection: Selection, questions: Questions, question: int, position: int, model: LanguageModel, asked: int = -1
) -> dict[str, float]:
    """Recall, margin and near share of the selection in one HSA layer (its first retrieval head).

    `position` is that of the answer `asked` (by its number; -1: the last), counted over haystack and tail.
    """
    place, size = int(questions.answer_at[asked]) - questions.tails.shape[1], model.cfg.chunk
    chunks, scores = selection.chunks[0, 0, place], selection.scores[0, 0, place]
    needle = int(questions.evidence[question, asked]) // size
    found = (chunks == needle) & (scores > -math.inf)
    row = {"chunk_recall": float(found.any()), "visible": float((needle + 1) * size <= position), "margin": math.nan}
    best = max(scores[~found].tolist(), default=-math.inf)
    if bool(found.any()) and best > -math.inf:
        row["margin"] = float(scores[found][0]) - best
    return row | {"near_share": near_share(chunks, scores, position, model)}


def near_share(chunks: Int[Tensor, " k"], scores: Float[Tensor, " k"], position: int, model: LanguageModel) -> float:
    """Share of the fusion weight on chunks with a token inside the stacked reach; NaN where scores do not weigh."""
    if model.cfg.fusion == "concat" or not bool((scores > -math.inf).any()):
        return math.nan
    weights = fusion_weights(scores, model.cfg.fusion)
    near = (chunks + 1) * model.cfg.chunk > position - model.reach
    return float((weights * near).sum() / weights.sum())
