"""Curricula that follow the model: mixtures by what is not yet learnt, windows by what retrieval bears, a bandit.

Each is a hook beside the stages. What it decides between two looks is kept with the checkpoint, so that a resumed run
is the uninterrupted one.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Generator

from lablib.core.refusals import at_least
from lablib.data.batch import Batch
from lablib.longcontext.ablation import windows_cut
from lablib.longcontext.curriculum import Rows
from lablib.longcontext.stages import ASKED, KINDS
from lablib.nn.model import LanguageModel
from lablib.train.evaluate import accuracy
from lablib.train.hooks import Hook
from lablib.train.losses import cross_entropy


def asked_kinds(rows: Rows) -> list[str]:
    """The kinds with a question in each row that have a weight."""
    return [kind for kind, weight in zip(KINDS, rows.kind_weights, strict=True) if kind in ASKED and weight]


def answered(model: LanguageModel, rows: Batch) -> float:
    """Share of the positions that count at which the model is right."""
    return accuracy(model(rows.tokens), rows, rows.weight > 0)


class AdaptiveMix(Hook):
    """Draws more of what is not yet learnt: `every` so many steps, over the lengths and kinds that the stage gives.

    A weight is the stage's own times floor + (1 - accuracy) on `batch` rows never trained on. Lengths by the accuracy
    over both kinds of question; retrieval and reasoning by theirs over the lengths, their weight together unchanged, so
    that neither is left behind and rows without a question keep their share.
    """

    kept = ("accuracy",)

    def __init__(self, rows: Rows, every: int, seed: int, *, floor: float = 0.1, batch: int = 64):
        if not 0 < floor <= 1:
            raise ValueError(f"floor is {floor}; expected more than 0, up to 1: what is learnt must stay in the mix")
        at_least(1, every=every, batch=batch)
        self.rows, self.every, self.seed, self.floor, self.batch = rows, every, seed, floor, batch
        self.accuracy: dict[str, float] = {}  # by "kind length"

    def before_step(self, step: int, model: LanguageModel) -> None:
        rows, asked, before = self.rows, asked_kinds(self.rows), dict(zip(KINDS, self.rows.kind_weights, strict=True))
        needs = [self.need(asked, [length]) for length in rows.lengths]
        rows.length_weights = [weight * need for weight, need in zip(rows.length_weights, needs, strict=True)]
        wanted = {kind: before[kind] * self.need([kind], rows.lengths) for kind in asked}
        scale = sum(before[kind] for kind in wanted) / sum(wanted.values()) if wanted else 1.0
        rows.kind_weights = [wanted.get(kind, before[kind] / scale) * scale for kind in KINDS]

    def need(self, kinds: Sequence[str], lengths: Sequence[int]) -> float:
        """floor + (1 - mean accuracy); 1 + floor where nothing was measured yet."""
        seen = [self.accuracy.get(f"{kind} {length}", 0.0) for kind in kinds for length in lengths]
        return self.floor + 1 - (sum(seen) / len(seen) if seen else 0.0)

    @torch.no_grad()
    def at_eval(self, step: int, model: LanguageModel, row: dict[str, Any]) -> None:
        if (step + 1) % self.every:
            return
        for kind in asked_kinds(self.rows):
            measured = "chains" if kind == "reasoning" else kind
            for length in self.rows.lengths:
                rows = self.rows.source(measured, length)(self.batch, Generator().manual_seed(self.seed + length))
                self.accuracy[f"{kind} {length}"] = row[f"accuracy_{kind}_{length}"] = answered(model, rows)


class AdaptiveWindow(Hook):
    """Widens the windows step by step over `windows` (tokens), only while retrieval holds, else goes one step back.

    `every` so many steps it looks at the share of questions that HSA alone answers: the same rows with all windows
    cut to a chunk. At `enough` or more the windows take the next width, below `little` the one before.
    """

    kept = ("place",)

    def __init__(
        self, rows: Rows, windows: Sequence[int], every: int, seed: int, *,
        enough: float = 0.95, little: float = 0.8, batch: int = 64,
    ):  # fmt: skip
        if not windows or list(windows) != sorted(set(windows)) or windows[0] < 1:
            raise ValueError(f"windows is {list(windows)}; expected rising widths of at least 1 token")
        if not 0 <= little <= enough <= 1:
            raise ValueError(f"little={little} and enough={enough}: expected 0 <= little <= enough <= 1")
        at_least(1, every=every, batch=batch)
        self.rows, self.windows, self.every, self.seed = rows, list(windows), every, seed
        self.enough, self.little, self.batch, self.place = enough, little, batch, 0

    def before_step(self, step: int, model: LanguageModel) -> None:
        model.set_reading(self.windows[self.place], model.top_k)

    @torch.no_grad()
    def at_eval(self, step: int, model: LanguageModel, row: dict[str, Any]) -> None:
        if (step + 1) % self.every:
            return
        rows = self.rows.source("retrieval", max(self.rows.lengths))(self.batch, Generator().manual_seed(self.seed))
        with windows_cut(model, model.cfg.chunk):
            alone = row["hsa_alone"] = accuracy(model(rows.tokens), rows, rows.evidence >= 0)
        step_by = (alone >= self.enough) - (alone < self.little)
        self.place = min(max(self.place + step_by, 0), len(self.windows) - 1)


class LengthBandit(Hook):
    """An automatic curriculum over lengths: Exp3 with learning progress as the reward (after arXiv 1704.03003).

    Between two looks, `every` so many steps, one length is drawn for all batches. Its reward is by how much the loss
    on rows of that length, never trained on, has fallen meanwhile, clipped to [-1, 1]; the weight of the length is
    multiplied by exp(rate * reward / probability). `explore` is the share of draws that ignore the weights.
    """

    kept = ("logits", "drawn", "loss_before")

    def __init__(self, rows: Rows, every: int, seed: int, *, rate: float = 0.3, explore: float = 0.2, batch: int = 64):
        if not (0 < rate < math.inf and 0 < explore <= 1):
            raise ValueError(f"rate={rate} and explore={explore}: expected rate > 0 and explore in (0, 1]")
        at_least(1, every=every, batch=batch)
        self.rows, self.every, self.seed, self.rate, self.explore, self.batch = rows, every, seed, rate, explore, batch
        self.logits: dict[str, float] = {}  # log weight by length
        self.drawn: int | None = None
        self.loss_before = math.nan

    def probabilities(self) -> list[float]:
        """Of the lengths of the stage, in their order."""
        logits = torch.tensor([self.logits.get(str(length), 0.0) for length in self.rows.lengths])
        even = self.explore / len(logits)
        return ((1 - self.explore) * logits.softmax(0) + even).tolist()

    def before_step(self, step: int, model: LanguageModel) -> None:
        if step % self.every == 0 or self.drawn not in self.rows.lengths:
            generator = Generator().manual_seed(self.seed + step)
            place = int(torch.multinomial(torch.tensor(self.probabilities()), 1, generator=generator))
            self.drawn = self.rows.lengths[place]
            self.loss_before = self.loss(model, self.drawn)
        self.rows.length_weights = [float(length == self.drawn) for length in self.rows.lengths]

    def at_eval(self, step: int, model: LanguageModel, row: dict[str, Any]) -> None:
        row["drawn_length"] = self.drawn
        if (step + 1) % self.every:
            return
        progress = self.loss_before - self.loss(model, self.drawn)
        if math.isnan(progress):  # a stage without questions
            return
        reward = min(max(progress, -1.0), 1.0)
        share = self.probabilities()[self.rows.lengths.index(self.drawn)]
        self.logits[str(self.drawn)] = self.logits.get(str(self.drawn), 0.0) + self.rate * reward / share
        names = [f"probability_{length}" for length in self.rows.lengths]
        row |= zip(names, self.probabilities(), strict=True)

    @torch.no_grad()
    def loss(self, model: LanguageModel, length: int) -> float:
        """On rows of the kinds with a question, as the stage weighs them; NaN where it has none."""
        losses = []
        for kind in asked_kinds(self.rows):
            rows = self.rows.source(kind, length)(self.batch, Generator().manual_seed(self.seed))
            losses.append(float(cross_entropy(model(rows.tokens), rows.targets, rows.weight)))
        return sum(losses) / len(losses) if losses else math.nan
