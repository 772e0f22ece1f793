"""The seesaw monitor: watches a training run for the moment in which windows take over from retrieval.

It measures the share of the global attention, its share of the gradient, and retrieval itself at several lengths. It
warns when retrieval fades, and can act: hold the windows where they were, or draw more rows that need retrieval.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from lablib.core.refusals import at_least
from lablib.data.batch import Batch
from lablib.longcontext.curriculum import Rows, at_length
from lablib.longcontext.seesaw import answer_questions, hooked, path_gradients
from lablib.longcontext.stages import ASKED, KINDS
from lablib.nn.attention import Attention
from lablib.nn.hsa import SparseAttention
from lablib.nn.model import LanguageModel
from lablib.nn.surgery import plain_module
from lablib.train.hooks import Hook


def faded(recalls: Sequence[float], questions: int, drop: float = 0.1) -> bool:
    """Whether the last two recalls lie below the best of those before by more than `drop` and than chance explains.

    Chance: three standard errors of a difference of two shares of `questions` answers. NaN and short series: False.
    """
    at_least(1, questions=questions)
    seen = [recall for recall in recalls if not math.isnan(recall)]
    if len(seen) < 3:
        return False
    best, last = max(seen[:-2]), max(seen[-2:])
    pooled = (best + last) / 2
    chance = 3 * math.sqrt(2 * max(pooled * (1 - pooled), 0.0) / questions)
    return best - last > max(drop, chance)


@contextmanager
def watch_shares(model: nn.Module) -> Iterator[list[float]]:
    """A list that receives, at every forward pass, the share of HSA in what the attentions of its layers put out.

    |HSA| / (|HSA| + |SWA|), Euclidean norms of the outputs at each position, averaged over positions and layers.
    """
    parts = [[plain_module(mixer.part) for mixer in block.mixers] for block in model.upper]
    layers = [{type(part): part for part in layer} for layer in parts]
    layers = [parts for parts in layers if parts.keys() >= {SparseAttention, Attention}]
    norms: dict[nn.Module, Tensor] = {}
    shares: list[float] = []

    def keep(module: nn.Module, given: Any, out: tuple[Tensor, Any]) -> None:
        norms[module] = out[0].detach().norm(dim=-1)

    def finish(*call: Any) -> None:
        pairs = [(norms[parts[SparseAttention]], norms[parts[Attention]]) for parts in layers]
        found = [(hsa / (hsa + swa)).mean() for hsa, swa in pairs]
        shares.append(float(torch.stack(found).mean()) if found else math.nan)

    with hooked(model, LanguageModel, finish), hooked(model, SparseAttention, keep), hooked(model, Attention, keep):
        yield shares


class SeesawMonitor(Hook):
    """Adds to a training row, `every` so many steps:

    global_share     the share of HSA in the output of the attentions, on rows that need retrieval
    global_grad      the share of the HSA path in the norm of the gradient (on every logged step)
    recall_<length>  exact recall at each of `lengths` (tokens): the same questions each time
    faded            1 if recall at the longest length has faded, else 0; then `tell` gets one line

    `act` says what else to do then: "warn" nothing; "hold" keeps the windows at the narrowest seen at the best recall;
    "raise" doubles the weight of the rows that need retrieval, up to eight times. Training's own generator is not
    touched, so a monitor that only warns changes nothing.
    """

    kept = ("recalls", "windows", "held", "raised")

    def __init__(
        self, rows: Rows, lengths: Sequence[int], every: int, seed: int, *, questions: int = 50,
        act: Literal["warn", "hold", "raise"] = "warn", tell: Callable[[str], None] = lambda line: None,
    ):  # fmt: skip
        if act not in ("warn", "hold", "raise"):
            raise ValueError(f"act is {act!r}; expected warn, hold or raise")
        if not lengths:
            raise ValueError("lengths is empty; expected at least one, at which recall is watched")
        at_least(1, every=every, questions=questions)
        self.rows, self.lengths, self.every, self.seed = rows, tuple(lengths), every, seed
        self.questions, self.act, self.tell = questions, act, tell
        self.recalls: list[float] = []
        self.windows: list[int] = []
        self.held: int | None = None  # no wider window than this
        self.raised = 1.0  # the factor on the weight of the rows that need retrieval

    def before_step(self, step: int, model: LanguageModel) -> None:
        if self.held is not None:
            model.set_reading(min(model.window, self.held), model.top_k)
        if self.raised > 1:
            self.rows.kind_weights = raised(self.rows.kind_weights, self.raised)

    def after_backward(self, step: int, model: LanguageModel, batch: Batch, logits: Tensor, row: dict) -> None:
        hsa, other = path_gradients(model)
        row["global_grad"] = hsa / (hsa + other) if hsa + other > 0 else math.nan

    def at_eval(self, step: int, model: LanguageModel, row: dict[str, Any]) -> None:
        if (step + 1) % self.every:
            return
        row["global_share"] = self.global_share(model)
        for length in self.lengths:
            row[f"recall_{length}"] = self.recall(model, length)
        self.recalls.append(row[f"recall_{self.lengths[-1]}"])
        self.windows.append(model.window)
        row["faded"] = float(faded(self.recalls, self.questions))
        if row["faded"]:
            self.warn(step + 1)

    def warn(self, step: int) -> None:
        best = max(self.recalls)
        line = f"step {step}: recall at {self.lengths[-1]} tokens has faded from {best:.2f} to {self.recalls[-1]:.2f}"
        if self.act == "hold":
            self.held = min(w for w, recall in zip(self.windows, self.recalls, strict=True) if recall == best)
            line += f"; the windows are held at {self.held}"
        elif self.act == "raise":
            self.raised = min(2 * self.raised, 8.0)
            line += f"; rows that need retrieval are drawn {self.raised:g} times as often"
        self.tell(line)

    @torch.no_grad()
    def global_share(self, model: LanguageModel) -> float:
        """The share of HSA in the output of the attentions, on rows that need retrieval."""
        batch = self.rows.source("retrieval", max(self.rows.lengths))(16, Generator().manual_seed(self.seed))
        with watch_shares(model) as shares:
            model(batch.tokens)
        return shares[-1]

    def recall(self, model: LanguageModel, length: int) -> float:
        """Exact recall of new questions at a length."""
        data = at_length(self.rows.data, max(self.rows.lengths))
        generator = Generator().manual_seed(self.seed + length)
        hits = answer_questions(model, data, length, self.questions, generator)["hit"]
        return sum(hits) / len(hits)


def raised(weights: Sequence[float], factor: float) -> list[float]:
    """Weights of the kinds with those of retrieval and reasoning multiplied."""
    return [weight * factor if kind in ASKED else weight for kind, weight in zip(KINDS, weights, strict=True)]
